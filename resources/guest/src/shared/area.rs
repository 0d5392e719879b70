//! Which bytes of a disk a step is about, and in what pieces.

use crate::pattern::BLOCK;

/// A part of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// The first byte, a multiple of 512.
    pub start: u64,
    /// Bytes; to the end of the disk where not said.
    pub length: Option<u64>,
    /// Which blocks of that range.
    pub blocks: Blocks,
}

/// Which 4 KiB blocks, by their number on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// Each.
    All,
    /// Those whose number is a multiple of this.
    Every(u64),
    /// The others.
    Except(u64),
}

/// A run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its first byte on the disk.
    pub start: u64,
    /// Bytes.
    pub length: u64,
}

impl Area {
    /// One past its last byte, on a disk of `disk` bytes; `None` where it does not fit.
    #[must_use]
    pub fn end(&self, disk: u64) -> Option<u64> {
        let end = match self.length {
            None => disk,
            Some(length) => self.start.checked_add(length)?,
        };
        (self.start <= end && end <= disk).then_some(end)
    }

    /// Its bytes up to `end`, in pieces of at most `size` bytes. Pieces are cut where a request
    /// of that size would be, seen from the disk's start.
    pub fn pieces(&self, end: u64, size: u64) -> impl Iterator<Item = Piece> + use<> {
        let blocks = self.blocks;
        let mut at = self.start;
        core::iter::from_fn(move || {
            let (start, stop) = blocks.run(at);
            let start = at.max(start);
            let stop = stop.min((start / size + 1).saturating_mul(size)).min(end);
            if start >= end {
                return None;
            }
            at = stop;
            Some(Piece { start, length: stop - start })
        })
    }
}

impl Blocks {
    /// The first run of these blocks that ends after `at`, as bytes.
    fn run(self, at: u64) -> (u64, u64) {
        let block = at / BLOCK as u64;
        let bytes = |start: u64, stop: u64| {
            (start.saturating_mul(BLOCK as u64), stop.saturating_mul(BLOCK as u64))
        };
        match self {
            Blocks::All => (0, u64::MAX),
            Blocks::Every(step) => {
                let first = block.next_multiple_of(step);
                bytes(first, first + 1)
            }
            Blocks::Except(step) => {
                let first = if block.is_multiple_of(step) { block + 1 } else { block };
                bytes(first, first.next_multiple_of(step))
            }
        }
    }
}
