//! Windows of the bitmap area: the first write to one fills all of it.
//!
//! A sector written into a hole makes the filesystem look for room and note down where that is, and
//! the flush that comes next waits for both. Filling a window has that happen once for the 8 GiB of
//! disk it speaks of.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::PoisonError;

use super::bitmap::Snapshot;
use crate::sync::{Mutex, MutexGuard};

/// Sectors in a window, which is 256 KiB.
const WINDOW: u64 = 512;

/// The windows that something has been written to.
#[derive(Debug, Default)]
pub(super) struct Windows(Mutex<BTreeSet<u64>>);

/// Sectors in a row, to be written at once; those of them that are not `taken` own nothing.
#[derive(Debug)]
pub(super) struct Span<'a> {
    pub(super) sectors: Range<u64>,
    pub(super) taken: &'a [Snapshot],
}

impl Windows {
    /// Something has been written to the window that `sector` is in.
    pub(super) fn insert(&self, sector: u64) {
        self.written().insert(sector / WINDOW);
    }

    /// How to write `taken`, which are in rising order, to the bitmap of a disk that has so many
    /// `sectors`.
    pub(super) fn spans<'a>(&self, taken: &'a [Snapshot], sectors: u64) -> Vec<Span<'a>> {
        let written = self.written();
        let mut spans = Vec::new();
        for taken in taken.chunk_by(|a, b| a.sector / WINDOW == b.sector / WINDOW) {
            let window = taken[0].sector / WINDOW;
            if written.contains(&window) {
                let runs = taken.chunk_by(|a, b| a.sector + 1 == b.sector);
                spans.extend(runs.map(|run| Span { sectors: reach(run), taken: run }));
            } else {
                let end = ((window + 1) * WINDOW).min(sectors).max(reach(taken).end);
                spans.push(Span { sectors: window * WINDOW..end, taken });
            }
        }
        spans
    }

    fn written(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From the first to the last of `taken`.
fn reach(taken: &[Snapshot]) -> Range<u64> {
    taken[0].sector..taken[taken.len() - 1].sector + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::SECTOR_WORDS;

    fn taken(sectors: &[u64]) -> Vec<Snapshot> {
        let snapshot = |&sector: &u64| Snapshot { sector, bits: [1; SECTOR_WORDS] };
        sectors.iter().map(snapshot).collect()
    }

    fn ranges(windows: &Windows, taken: &[Snapshot], sectors: u64) -> Vec<Range<u64>> {
        windows.spans(taken, sectors).into_iter().map(|span| span.sectors).collect()
    }

    #[test]
    fn the_first_write_fills_the_window_and_later_ones_only_what_they_must() {
        let windows = Windows::default();
        let taken = taken(&[530, 531, 540, 2000]);
        assert_eq!(ranges(&windows, &taken, 9000), [512..1024, 1536..2048]);
        windows.insert(800);
        assert_eq!(ranges(&windows, &taken, 9000), [530..532, 540..541, 1536..2048]);
    }

    #[test]
    fn a_window_ends_with_the_disk() {
        assert_eq!(ranges(&Windows::default(), &taken(&[3, 5]), 7), vec![0..7]);
    }
}
