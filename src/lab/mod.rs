//! Labs: many clones that are made, started, reset and removed together. docs/labs.md.
//!
//! ```text
//!   lab.toml ── file ──► Lab ──┐
//!                              ├── plan ──► Plan ── admission ──► apply: make, start by stages
//!   the store ── roster ───────┘
//! ```
//! The plan is pure; what is there is told by labels, and what it does by locks, so there is nothing
//! to be remembered of a lab beside its clones.

pub mod admission;
pub mod apply;
pub mod file;
mod memory;
mod order;
mod place;
pub mod plan;
mod raw;
pub mod roster;

pub use file::Lab;
pub use roster::Roster;

/// The label that says of which lab a VM is.
pub const LAB: &str = "lab";
/// The label that says of which of its groups.
pub const GROUP: &str = "lab-group";
/// Both.
pub const LABELS: [&str; 2] = [LAB, GROUP];
