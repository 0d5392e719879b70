//! Which blocks a delta owns, in memory.
//!
//! Reading a bit takes no lock. Setting one does, so that whoever has seen a bit can rely on the
//! next [`Bitmap::take_pending`] to return it: a write to a block that somebody else has just
//! taken ownership of sets nothing itself, and its flush must not miss the bit.

use std::fmt;
use std::ops::Range;
use std::sync::PoisonError;

use zerocopy::FromZeros;

use super::format::{SECTOR_BLOCKS, SECTOR_WORDS, SectorBits};
#[cfg(test)]
use crate::seeded::{Bug, seeded};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// One bit for each block of a disk.
pub(crate) struct Bitmap {
    blocks: u64,
    words: Box<[AtomicU64]>,
    /// One bit for each sector: it has bits that no snapshot has taken yet.
    pending: Mutex<Box<[u64]>>,
}

/// A bitmap sector as it was when taken.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) sector: u64,
    pub(crate) bits: SectorBits,
}

/// There is no memory for so many blocks.
#[derive(Debug)]
pub(crate) struct TooLarge;

impl Bitmap {
    /// An empty bitmap. Its memory is zero pages until bits are set, whatever `blocks` is.
    pub(crate) fn new(blocks: u64) -> Result<Self, TooLarge> {
        let sectors = usize::try_from(blocks.div_ceil(SECTOR_BLOCKS)).map_err(|_| TooLarge)?;
        let words = sectors.checked_mul(SECTOR_WORDS).ok_or(TooLarge)?;
        let words = <[AtomicU64]>::new_box_zeroed_with_elems(words).map_err(|_| TooLarge)?;
        let pending =
            <[u64]>::new_box_zeroed_with_elems(sectors.div_ceil(64)).map_err(|_| TooLarge)?;
        Ok(Bitmap { blocks, words, pending: Mutex::new(pending) })
    }

    /// Takes over a sector that is durable already.
    pub(crate) fn load(&self, sector: u64, bits: &SectorBits) {
        for (word, bits) in self.sector(sector).iter().zip(bits) {
            word.store(*bits, Ordering::Release);
        }
    }

    /// Whether `block` is owned.
    pub(crate) fn contains(&self, block: u64) -> bool {
        self.word(block) >> (block % 64) & 1 == 1
    }

    /// Whether all of `blocks` are owned.
    pub(crate) fn contains_all(&self, blocks: Range<u64>) -> bool {
        blocks.is_empty() || self.run(blocks.clone()) == (true, blocks.end - blocks.start)
    }

    /// Whether the first of `blocks` is owned, and how many from there on are alike.
    pub(crate) fn run(&self, blocks: Range<u64>) -> (bool, u64) {
        let owned = self.contains(blocks.start);
        let mut block = blocks.start;
        while block < blocks.end {
            let word = self.word(block);
            let unlike = if owned { !word } else { word } >> (block % 64);
            if unlike != 0 {
                block += u64::from(unlike.trailing_zeros());
                break;
            }
            block = (block / 64 + 1) * 64;
        }
        (owned, block.min(blocks.end) - blocks.start)
    }

    /// The bits of each sector of the first `blocks`, as they are now.
    pub(crate) fn sectors(&self, blocks: u64) -> impl ExactSizeIterator<Item = SectorBits> {
        let end = index(blocks.div_ceil(SECTOR_BLOCKS)) * SECTOR_WORDS;
        let sectors = self.words[..end].chunks_exact(SECTOR_WORDS);
        sectors.map(|words| std::array::from_fn(|word| words[word].load(Ordering::Acquire)))
    }

    /// Makes `blocks` owned. What they own must have been written completely.
    pub(crate) fn insert(&self, blocks: Range<u64>) {
        let mut pending = self.pending();
        let mut block = blocks.start;
        while block < blocks.end {
            let end = blocks.end.min((block / 64 + 1) * 64);
            let mask = u64::MAX >> (64 - (end - block)) << (block % 64);
            let before = self.words[index(block / 64)].fetch_or(mask, Ordering::AcqRel);
            if before & mask != mask {
                mark(&mut pending, block / SECTOR_BLOCKS);
            }
            block = end;
        }
    }

    /// The first `most` sectors, from sector `from` on, with bits that nobody has taken yet. They are
    /// then the caller's to make durable, or to [`put_back`](Bitmap::put_back).
    pub(crate) fn take_pending(&self, from: u64, most: usize) -> Vec<Snapshot> {
        let mut pending = self.pending();
        let mut taken = Vec::new();
        for (word, first) in pending.iter_mut().zip((0u64..).step_by(64)).skip(index(from / 64)) {
            let mut wanted = *word & (u64::MAX << from.saturating_sub(first));
            while wanted != 0 && taken.len() < most {
                let bit = wanted & wanted.wrapping_neg();
                taken.push(self.snapshot(first + u64::from(bit.trailing_zeros())));
                *word ^= bit;
                wanted ^= bit;
            }
            if taken.len() == most {
                break;
            }
        }
        taken
    }

    /// Whether there are bits that nobody has taken yet.
    pub(crate) fn has_pending(&self) -> bool {
        self.pending().iter().any(|&word| word != 0)
    }

    /// Makes what was taken pending again.
    pub(crate) fn put_back(&self, taken: &[Snapshot]) {
        #[cfg(test)]
        if seeded(Bug::PutBackForgotten) {
            return;
        }
        let mut pending = self.pending();
        for snapshot in taken {
            mark(&mut pending, snapshot.sector);
        }
    }

    /// What nothing but a seeded bug does.
    #[cfg(test)]
    pub(crate) fn remove(&self, blocks: Range<u64>) {
        let mut pending = self.pending();
        for block in blocks {
            self.words[index(block / 64)].fetch_and(!(1 << (block % 64)), Ordering::AcqRel);
            mark(&mut pending, block / SECTOR_BLOCKS);
        }
    }

    fn snapshot(&self, sector: u64) -> Snapshot {
        let mut bits = [0; SECTOR_WORDS];
        for (bits, word) in bits.iter_mut().zip(self.sector(sector)) {
            *bits = word.load(Ordering::Acquire);
        }
        Snapshot { sector, bits }
    }

    fn sector(&self, sector: u64) -> &[AtomicU64] {
        let start = index(sector) * SECTOR_WORDS;
        &self.words[start..start + SECTOR_WORDS]
    }

    fn word(&self, block: u64) -> u64 {
        debug_assert!(block < self.blocks, "ranges were checked when they came in");
        self.words[index(block / 64)].load(Ordering::Acquire)
    }

    fn pending(&self) -> MutexGuard<'_, Box<[u64]>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Bitmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bitmap({} blocks)", self.blocks)
    }
}

fn mark(pending: &mut [u64], sector: u64) {
    pending[index(sector / 64)] |= 1 << (sector % 64);
}

/// `new` has put every word of every block into memory, so their numbers fit.
fn index(number: u64) -> usize {
    usize::try_from(number).expect("the bitmap is in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(bitmap: &Bitmap) -> Vec<u64> {
        (0..bitmap.blocks).filter(|&block| bitmap.contains(block)).collect()
    }

    fn all(bitmap: &Bitmap) -> Vec<Snapshot> {
        bitmap.take_pending(0, usize::MAX)
    }

    fn numbers(taken: &[Snapshot]) -> Vec<u64> {
        taken.iter().map(|taken| taken.sector).collect()
    }

    #[test]
    fn inserted_blocks_are_owned_and_no_others() {
        let bitmap = Bitmap::new(9000).unwrap();
        bitmap.insert(62..67);
        bitmap.insert(4031..4033);
        bitmap.insert(8999..9000);
        assert_eq!(owned(&bitmap), [62, 63, 64, 65, 66, 4031, 4032, 8999]);
        assert!(bitmap.contains_all(62..67) && !bitmap.contains_all(61..67));
    }

    #[test]
    fn runs_end_where_ownership_changes() {
        let bitmap = Bitmap::new(9000).unwrap();
        bitmap.insert(100..300);
        assert_eq!(bitmap.run(0..9000), (false, 100));
        assert_eq!(bitmap.run(100..9000), (true, 200));
        assert_eq!(bitmap.run(130..131), (true, 1));
        assert_eq!(bitmap.run(300..9000), (false, 8700));
    }

    #[test]
    fn pending_sectors_are_taken_once() {
        let bitmap = Bitmap::new(9000).unwrap();
        bitmap.insert(1..2);
        bitmap.insert(5000..5001);
        let taken = all(&bitmap);
        assert_eq!(numbers(&taken), [0, 1]);
        assert_eq!(taken[0].bits[0], 2);
        bitmap.insert(1..2);
        assert!(all(&bitmap).is_empty(), "nothing new was inserted");
    }

    #[test]
    fn a_part_of_the_pending_sectors_is_taken_and_the_rest_stays_pending() {
        let bitmap = Bitmap::new(200 * SECTOR_BLOCKS).unwrap();
        for sector in [1, 63, 64, 65, 199] {
            bitmap.insert(sector * SECTOR_BLOCKS..sector * SECTOR_BLOCKS + 1);
        }
        assert_eq!(numbers(&bitmap.take_pending(2, 2)), [63, 64]);
        assert_eq!(numbers(&bitmap.take_pending(65, 2)), [65, 199]);
        assert!(bitmap.take_pending(2, 2).is_empty());
        assert_eq!(numbers(&all(&bitmap)), [1]);
    }

    #[test]
    fn what_is_put_back_is_taken_again() {
        let bitmap = Bitmap::new(9000).unwrap();
        bitmap.insert(5000..5001);
        let taken = all(&bitmap);
        bitmap.put_back(&taken);
        assert_eq!(all(&bitmap).len(), 1);
    }

    #[test]
    fn a_large_bitmap_costs_nothing_until_used() {
        let bitmap = Bitmap::new((1 << 46) / 4096).unwrap();
        bitmap.insert(0..1);
        assert_eq!(all(&bitmap).len(), 1);
        assert!(Bitmap::new(u64::MAX).is_err());
    }
}
