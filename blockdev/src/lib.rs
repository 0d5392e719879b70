//! Disks made of layers: a private delta over frozen layers over a shared, read-only base.
//!
//! ```text
//!   guest sector ──► where is it? Place { layer, offset } ──► engine moves the bytes
//!
//!        ┌──────────────┐  one per running VM, read-write, locked exclusively
//!        │    delta     │  owns only the 4 KiB blocks written since the clone was made
//!        ├──────────────┤
//!        │   frozen *   │  deltas that became parents: snapshots, clones' parents; locked shared
//!        ├──────────────┤
//!        │     base     │  raw image, read-only, locked shared, one page cache for all
//!        └──────────────┘
//! ```
//!
//! A [`Stack`] opens and locks the layers and knows where each byte is. A [`Disk`] on it, one for
//! each queue, moves the bytes: [`Op`] in, [`Done`] out. [`base::import`] and [`delta::create`]
//! make the files; docs/delta-format.md describes them and says what survives a crash. [`sealed`]
//! packs what a delta owns to travel.
//!
//! This crate knows bytes and files; it knows neither KVM nor virtio.
#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "tests make small numbers"))]

pub mod base;
pub mod buffers;
mod chain;
pub mod copy;
#[cfg(test)]
mod crash;
pub mod delta;
pub mod disk;
mod error;
pub mod export;
pub mod foreign;
#[cfg(any(test, feature = "test-support"))]
pub mod fuzz;
#[cfg(test)]
mod hosts;
pub mod io;
mod layers;
mod open;
mod ops;
mod owners;
pub mod sealed;
#[cfg(test)]
mod seeded;
mod stack;
mod sync;
#[cfg(test)]
mod testing;

pub use buffers::{Buffers, Piece};
pub use disk::{Disk, Done, Op, Tag};
pub use error::{Error, ErrorKind, Result};
pub use ops::{Pace, absorb, rebase_frozen, resize};
pub use stack::{Engine, Extent, Stack, StackSpec};
