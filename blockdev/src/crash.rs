//! The crash simulator: worlds of recorded storages whose power is cut at every point.
//!
//! ```text
//!   word ──► World acts it out on storages that share one log
//!                     │
//!            log  w w S w w w S ...     w: sectors written, S: one file synced
//!                     ▲
//!   at every cut: what was synced, and any subset of the other sectors of all files
//!                     │
//!            opened again ──► Found ──► one of the contents the Ledger says are legal?
//! ```
//!
//! A world is the files of a disk's chain and what the store says of them. [`letters`] are what
//! may happen to it; [`model`] knows for every sector what a crash may leave: what was there when
//! the last flush that returned had begun, and all that was written since.

mod attach;
mod bugs;
mod chains;
mod cut;
mod faults;
mod guest;
mod letters;
mod lives;
mod model;
mod schedules;
mod threads;
mod words;
mod world;
