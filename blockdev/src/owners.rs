//! The owner map: which of a chain's frozen layers owns each block.
//!
//! ```text
//!   layer 3   ..##....##        one bit a block in each layer's file
//!   layer 2   ####......
//!   layer 1   ...#.#....
//!   base      oooooooooo
//!             ──────────
//!   owners    2233 10 0033      one lookup, however deep the chain
//! ```
//!
//! It is a cache of what the layers' bitmaps say, never the truth: [`file`] keeps it beside the
//! topmost frozen layer, and whoever finds it missing, stale or damaged builds it again.

mod build;
mod chunk;
mod file;
#[cfg(any(test, feature = "test-support"))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

use std::collections::TryReserveError;
use std::ops::Range;

use crate::delta::{Delta, SECTOR_BLOCKS, SECTOR_WORDS};

pub(crate) use build::build;
use chunk::Chunk;
pub(crate) use file::{Key, load, save};
#[cfg(any(test, feature = "test-support"))]
pub(crate) use file::{decode, encode};

/// A layer of a chain, counted from the bottom: 0 is the base.
pub(crate) type Owner = u16;

/// Blocks in a chunk: as many as a bitmap sector speaks of.
const CHUNK: usize = SECTOR_WORDS * 64;

/// Who owns each block, for as many blocks as were said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owners {
    chunks: Vec<Chunk>,
}

impl Owners {
    /// Who owns the first of `blocks`, and how many from there on have the same owner; perhaps
    /// not all that have. What lies beyond the map is the base's.
    pub(crate) fn run(&self, blocks: Range<u64>) -> (Owner, u64) {
        let index = usize::try_from(blocks.start / SECTOR_BLOCKS).unwrap_or(usize::MAX);
        let Some(chunk) = self.chunks.get(index) else { return (0, blocks.end - blocks.start) };
        let start = blocks.start % SECTOR_BLOCKS;
        let within =
            in_chunk(start)..in_chunk((start + (blocks.end - blocks.start)).min(SECTOR_BLOCKS));
        let (owner, count) = chunk.run(within);
        (owner, count as u64)
    }

    /// The map with another layer, `owner`, over all that are in it.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(crate) fn under(&self, delta: &Delta, owner: usize) -> Result<Owners, TryReserveError> {
        let owner = Owner::try_from(owner).expect("a chain has fewer layers");
        let mut chunks = Vec::new();
        let sectors = delta.bitmap().sectors(delta.blocks());
        chunks.try_reserve_exact(sectors.len())?;
        for (index, bits) in sectors.enumerate() {
            let below = self.chunks.get(index).unwrap_or(&Chunk::One(0));
            chunks.push(below.under(&bits, owner));
        }
        Ok(Owners { chunks })
    }

    /// Bytes of memory it takes.
    pub(crate) fn memory(&self) -> usize {
        let own = self.chunks.capacity() * size_of::<Chunk>();
        own + self.chunks.iter().map(Chunk::memory).sum::<usize>()
    }
}

/// A number of blocks within a chunk.
fn in_chunk(blocks: u64) -> usize {
    usize::try_from(blocks).expect("a chunk is short")
}
