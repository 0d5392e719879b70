//! What operations on layers do to a delta beside its disk's own writes.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::format::{BLOCK, BLOCK_LEN, Header, Parent, State, valid_size};
use super::live::{Delta, Permit};
use super::rewrite::rewrite;
use crate::io::FileStorage;
use crate::io::wakeup::Wakeup;
use crate::open::{For, layer};
#[cfg(test)]
use crate::seeded::{Bug, seeded};
use crate::{Error, Result};

/// While it lives, writes to owned blocks exclude each other, too.
pub(crate) struct OwnedLocked<'a>(&'a Delta);

impl Delta {
    /// Opens the frozen delta at `path` to merge into it what does not change what it reads as.
    pub(crate) fn open_for_merging(path: &Path) -> Result<Delta> {
        Delta::load(path, Arc::new(FileStorage::locked(layer(path, For::Merging)?)))
    }

    /// Leave to write `range`, as soon as nobody takes ownership of part of it.
    pub(crate) fn wait_for_permit(&self, range: &Range<u64>) -> Result<Permit> {
        let wakeup =
            Wakeup::new().map_err(|source| Error::Engine { what: "an eventfd", source })?;
        let wakeup = Arc::new(wakeup);
        loop {
            if let Some(permit) = self.permit(range, &wakeup)? {
                return Ok(permit);
            }
            wakeup.wait();
            wakeup.clear();
        }
    }

    /// Makes every permit exclude all others that overlap it.
    pub(crate) fn lock_owned_blocks(&self) -> OwnedLocked<'_> {
        self.gate().close();
        #[cfg(not(test))]
        let lock = true;
        #[cfg(test)]
        let lock = !seeded(Bug::CompactDoesNotLock);
        self.lock_owned().store(lock, Ordering::Release);
        self.gate().open();
        OwnedLocked(self)
    }

    /// Whether the block at byte `at` of the disk is owned.
    pub(crate) fn owns(&self, at: u64) -> bool {
        self.bitmap().contains(at / BLOCK)
    }

    /// Fills `into` with what the data area has from byte `at` of the disk on.
    pub(crate) fn read(&self, into: &mut [u8], at: u64) -> Result<()> {
        let offset = self.offset(at);
        self.storage().read_exact_at(into, offset).map_err(Error::read(self.path(), offset))
    }

    /// The first byte of `range` of the disk that is not in a hole of the data area.
    pub(crate) fn data_in(&self, range: Range<u64>) -> Result<Option<u64>> {
        let (start, end) = (self.offset(range.start), self.offset(range.end));
        let data = self.storage().next_data(start).map_err(Error::read(self.path(), start))?;
        let found = data.map(|data| data.start.max(start)).filter(|&data| data < end);
        Ok(found.map(|data| data - self.offset(0)))
    }

    /// Stores whole blocks, of a range that `permit` is for, and owns them. Zeroes take no space.
    pub(crate) fn take_blocks(&self, blocks: &[u8], at: u64, permit: &Permit) -> Result<()> {
        let zero = |block: &&[u8]| block.iter().all(|&byte| byte == 0);
        let list: Vec<&[u8]> = blocks.chunks(BLOCK_LEN).collect();
        let mut start = 0;
        for run in list.chunk_by(|a, b| zero(a) == zero(b)) {
            let end = start + run.len() * BLOCK_LEN;
            let place = at + start as u64;
            if zero(&run[0]) {
                self.punch(place..place + (run.len() * BLOCK_LEN) as u64)?;
            } else {
                self.store(&blocks[start..end.min(blocks.len())], place)?;
            }
            start = end;
        }
        self.own(&(at..at + blocks.len() as u64), permit);
        Ok(())
    }

    /// All of `range`, which `permit` is for, has been written.
    pub(crate) fn own(&self, range: &Range<u64>, _permit: &Permit) {
        self.bitmap().insert(range.start / BLOCK..range.end.div_ceil(BLOCK));
    }

    /// Zeroes the bytes of `range` that are in blocks it owns.
    pub(crate) fn blank(&self, range: Range<u64>) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let (owned, len) = self.run(at..range.end);
            let run = at..at + len;
            at = run.end;
            if !owned {
                continue;
            }
            let first = run.start.next_multiple_of(BLOCK).min(run.end);
            let zeroes = [0; BLOCK_LEN];
            let head = usize::try_from(first - run.start).expect("less than a block");
            self.store(&zeroes[..head], run.start)?;
            if first < run.end {
                self.punch(first..run.end.next_multiple_of(BLOCK))?;
            }
        }
        Ok(())
    }

    /// Says in the file that it stands on `parent` now. What it needs from below is durable.
    pub(crate) fn relink(&self, parent: Parent) -> Result<()> {
        self.rewrite(|header| header.parent = parent)
    }

    /// Says in the file that it is written to.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.rewrite(|header| header.state = State::Live)
    }

    /// Says in the file that from now on it means something only below the delta of `child`, and
    /// makes room for that one's disk.
    pub(crate) fn begin_absorbing(&self, child: &Header) -> Result<()> {
        let size = child.size.max(self.header().size);
        self.make_room(size)?;
        #[cfg(test)]
        if seeded(Bug::AbsorbWithoutMark) {
            return Ok(());
        }
        self.rewrite(|header| {
            // The child pins the epoch from before it was begun the first time.
            let begun = [State::Absorbing(child.uuid), State::Absorbed(child.uuid)];
            header.epoch += u64::from(!begun.contains(&header.state));
            header.state = State::Absorbing(child.uuid);
            header.size = size;
        })
    }

    /// Says in the file that it reads as the delta of `child` does, all of which is durable here.
    pub(crate) fn end_absorbing(&self, child: &Header) -> Result<()> {
        self.rewrite(|header| {
            header.state = State::Absorbed(child.uuid);
            header.size = child.size;
            header.parent.visible = header.parent.visible.min(child.parent.visible);
        })
    }

    /// Gives the disk another length; what is new are zeroes.
    pub(crate) fn resize(&self, size: u64) -> Result<()> {
        valid_size(size).map_err(|why| Error::Size { size, why })?;
        let old = self.size();
        if size > old {
            self.make_room(size)?;
            // A longer disk may have left something there, with its bits.
            let end = Header { size, ..self.header().clone() }.blocks() * BLOCK;
            self.store(&[0; BLOCK_LEN][..tail(old)], old)?;
            #[cfg(test)]
            let end = if seeded(Bug::GrowExposes) { old } else { end };
            self.punch(old.next_multiple_of(BLOCK)..end)?;
            self.sync()?;
        }
        self.rewrite(|header| {
            header.size = size;
            header.parent.visible = header.parent.visible.min(size);
        })?;
        if size < old {
            let len = Header { size, ..self.header().clone() }.file_len();
            self.store(&[0; BLOCK_LEN][..tail(size)], size)?;
            self.storage().set_len(len).map_err(|error| self.write_failed(error, len))?;
        }
        self.set_size(size);
        Ok(())
    }

    /// Makes the file long enough for a disk of `size` bytes.
    fn make_room(&self, size: u64) -> Result<()> {
        let wanted = Header { size, ..self.header().clone() };
        if wanted.bitmap().end > wanted.bitmap().start + wanted.bitmap_capacity {
            return Err(Error::Size { size, why: "the delta was not made for so large a disk" });
        }
        let len = self.storage().len().map_err(Error::read(self.path(), 0))?;
        if len < wanted.file_len() {
            let grown = self.storage().set_len(wanted.file_len());
            grown.map_err(|error| self.write_failed(error, len))?;
            // A header that says more than the file has would be refused.
            self.sync()?;
        }
        Ok(())
    }

    fn rewrite(&self, change: impl FnOnce(&mut Header)) -> Result<()> {
        rewrite(&**self.storage(), self.path(), change).map(drop).map_err(|error| self.fail(error))
    }
}

impl Drop for OwnedLocked<'_> {
    fn drop(&mut self) {
        self.0.lock_owned().store(false, Ordering::Release);
    }
}

/// How many bytes of the last block of a disk of `size` bytes are behind its end.
fn tail(size: u64) -> usize {
    usize::try_from(size.next_multiple_of(BLOCK) - size).expect("less than a block")
}
