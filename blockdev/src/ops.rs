//! Operations on the layers of a stack, while disks on it are in use or not.
//!
//! ```text
//!   rebase    delta ──► what differs is copied up, then the header names another parent
//!     flatten           ... none at all: the delta needs nothing below
//!     remove            ... the parent's parent: the layer between is no longer needed
//!   absorb    a layer's blocks are copied down into the one below, which stands in for both
//!     commit            ... while a delta on top of them is in use
//!   compact   zeroes that take space are given back
//!   resize    the disk gets another length
//! ```
//!
//! What every disk reads as is the same at every moment; each takes effect with the rewrite of one
//! header (docs/delta-format.md, Life). Interrupted at any point, it can be begun again and finds
//! most of its work done, or be forgotten.

mod absorb;
mod commit;
mod compact;
mod pace;
mod rebase;
mod resize;
#[cfg(test)]
mod tests;
mod transfer;

pub use absorb::absorb;
#[cfg(test)]
pub(crate) use absorb::absorb_into;
pub use pace::Pace;
pub use rebase::rebase_frozen;
pub use resize::resize;
