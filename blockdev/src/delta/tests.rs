//! Deltas in files: what damage is told from what, what they cost, what a killed process leaves.
//! What a crash leaves is in `crate::crash`.

mod damage;
mod live;
