//! Deltas: what a crash leaves, what damage is told from what, what failing calls do.

mod crash;
mod damage;
mod faults;
mod life;
mod live;
