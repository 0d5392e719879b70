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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The sectors of an area, each found once.
    fn sectors(area: &Area, end: u64, size: u64) -> BTreeSet<u64> {
        let mut sectors = BTreeSet::new();
        for piece in area.pieces(end, size) {
            assert!(0 < piece.length && piece.length <= size);
            assert_eq!(piece.start / size, (piece.start + piece.length - 1) / size);
            for sector in (piece.start..piece.start + piece.length).step_by(512) {
                assert!(sectors.insert(sector / 512));
            }
        }
        sectors
    }

    fn area(start: u64, length: Option<u64>, blocks: Blocks) -> Area {
        Area { start, length, blocks }
    }

    #[test]
    fn pieces_cover_every_area_once() {
        for (blocks, wanted) in [
            (Blocks::All, (|_| true) as fn(u64) -> bool),
            (Blocks::Every(3), |block| block % 3 == 0),
            (Blocks::Every(1), |_| true),
            (Blocks::Except(3), |block| block % 3 != 0),
            (Blocks::Except(2), |block| block % 2 != 0),
        ] {
            for (start, end) in
                [(0, 40960), (512, 40960), (4096, 8192), (8192, 8192), (3584, 29184)]
            {
                for size in [512, 1024, 3584, 4096, 8192, 1 << 20] {
                    let wanted =
                        (start / 512..end / 512).filter(|sector| wanted(sector / 8)).collect();
                    let found = sectors(&area(start, Some(end - start), blocks), end, size);
                    assert_eq!(found, wanted, "{blocks:?} {start}..{end} by {size}");
                }
            }
        }
    }

    #[test]
    fn the_last_piece_may_end_within_a_sector() {
        let pieces: Vec<_> = area(4096, None, Blocks::All).pieces(5000, 4096).collect();
        assert_eq!(pieces, [Piece { start: 4096, length: 904 }]);
    }

    #[test]
    fn an_area_beyond_the_disk_has_no_end() {
        assert_eq!(area(512, None, Blocks::All).end(1024), Some(1024));
        assert_eq!(area(512, Some(512), Blocks::All).end(1024), Some(1024));
        assert_eq!(area(512, Some(513), Blocks::All).end(1024), None);
        assert_eq!(area(2048, None, Blocks::All).end(1024), None);
        assert_eq!(area(512, Some(u64::MAX), Blocks::All).end(1024), None);
    }
}
