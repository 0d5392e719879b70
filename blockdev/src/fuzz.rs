//! What a fuzzer does to each parser of hostile bytes. docs/testing.md, Fuzzing.
//!
//! A body takes any bytes and must not panic. It makes CRCs and digests right first, so that what
//! lies behind them is reached, and then asserts that what is accepted adds up and comes back the
//! same when it is written and read once more. It returns whether that was so. `fuzz/` has a target for each; [`driver`] runs them
//! without a fuzzer.

pub mod driver;
mod stack;
#[cfg(test)]
mod tests;

pub use crate::delta::fuzz::{bitmap, header};
pub use crate::foreign::fuzz::{qcow2, vmdk};
pub use crate::owners::fuzz::owner_map;
pub use crate::sealed::fuzz::sealed;
pub use stack::stack;

/// Larger disks would take too much memory for each input, in bytes.
pub(crate) const LARGEST: u64 = 1 << 30;
