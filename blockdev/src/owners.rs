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
mod file;
#[cfg(any(test, feature = "test-support"))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

use std::collections::TryReserveError;
use std::ops::Range;

use crate::delta::{Delta, SECTOR_BLOCKS, SECTOR_WORDS, SectorBits};

pub(crate) use build::build;
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

/// The owners of [`CHUNK`] blocks, in the smallest of these forms.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Chunk {
    /// All the same.
    One(Owner),
    /// Few changes: the last run ends with the chunk.
    Runs(Box<[Run]>),
    /// Many changes between few layers.
    Bytes(Box<[u8; CHUNK]>),
    /// Many changes between many layers.
    Words(Box<[Owner; CHUNK]>),
}

/// Blocks in a row with one owner, from where the run before ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    end: u16,
    owner: Owner,
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

impl Chunk {
    /// The smallest form of `owners`.
    fn of(owners: &[Owner; CHUNK]) -> Chunk {
        let runs = owners.chunk_by(|a, b| a == b).count();
        let narrow = owners.iter().all(|&owner| owner <= Owner::from(u8::MAX));
        let dense = if narrow { CHUNK } else { size_of_val(owners) };
        if runs == 1 {
            Chunk::One(owners[0])
        } else if runs * size_of::<Run>() <= dense {
            let mut end = 0;
            let run = |run: &[Owner]| {
                end += run.len();
                Run { end: u16::try_from(end).expect("a chunk is shorter"), owner: run[0] }
            };
            Chunk::Runs(owners.chunk_by(|a, b| a == b).map(run).collect())
        } else if narrow {
            let byte = |owner: Owner| u8::try_from(owner).expect("all are narrow");
            Chunk::Bytes(Box::new(owners.map(byte)))
        } else {
            Chunk::Words(Box::new(*owners))
        }
    }

    /// The chunk with `bits` given to `owner`.
    fn under(&self, bits: &SectorBits, owner: Owner) -> Chunk {
        if bits.iter().all(|&word| word == 0) {
            return self.clone();
        }
        let mut owners = self.expanded();
        build::paint(&mut owners, bits, owner);
        Chunk::of(&owners)
    }

    fn expanded(&self) -> [Owner; CHUNK] {
        let mut owners = [0; CHUNK];
        let mut at = 0;
        while at < CHUNK {
            let (owner, count) = self.run(at..CHUNK);
            owners[at..at + count].fill(owner);
            at += count;
        }
        owners
    }

    fn run(&self, blocks: Range<usize>) -> (Owner, usize) {
        match self {
            Chunk::One(owner) => (*owner, blocks.len()),
            Chunk::Runs(runs) => {
                let run = runs[runs.partition_point(|run| usize::from(run.end) <= blocks.start)];
                (run.owner, usize::from(run.end).min(blocks.end) - blocks.start)
            }
            Chunk::Bytes(owners) => alike(&owners[blocks]),
            Chunk::Words(owners) => alike(&owners[blocks]),
        }
    }

    fn memory(&self) -> usize {
        match self {
            Chunk::One(_) => 0,
            Chunk::Runs(runs) => size_of_val(&runs[..]),
            Chunk::Bytes(owners) => size_of_val(&owners[..]),
            Chunk::Words(owners) => size_of_val(&owners[..]),
        }
    }
}

/// The first owner, and how many in a row are the same.
fn alike<T: Copy + PartialEq + Into<Owner>>(owners: &[T]) -> (Owner, usize) {
    let first = owners[0];
    (first.into(), owners.iter().take_while(|&&owner| owner == first).count())
}

/// A number of blocks within a chunk.
fn in_chunk(blocks: u64) -> usize {
    usize::try_from(blocks).expect("a chunk is short")
}
