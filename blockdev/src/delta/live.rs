//! An open delta: the layer on top of a running disk.
//!
//! One invariant: a bit is set only after its whole block has been written, and becomes durable
//! only after that block has. docs/delta-format.md, Writing.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::bitmap::{Bitmap, Snapshot};
use super::commit::Commits;
use super::format::{BLOCK, Header, SECTOR_BLOCKS, SECTOR_LEN, State};
use super::gate::{Gate, Pass};
use super::load;
use super::ranges::{RangeGuard, RangeLocks};
use super::rewrite::rewrite;
use super::window::Windows;
use crate::buffers::Buffers;
use crate::error::ErrorKind;
use crate::io::wakeup::Wakeup;
use crate::io::{FileStorage, Storage};
use crate::open::{For, layer};
#[cfg(test)]
use crate::seeded::{Bug, seeded, taken_late};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::{Error, Result};

/// Bitmap sectors a flush takes at once: 4 MiB of them, for 126 GiB of the disk.
const MOST_TAKEN: usize = 8192;

pub(crate) struct Delta {
    path: PathBuf,
    storage: Arc<dyn Storage>,
    /// As it was when the delta was opened; the disk's length is `size`.
    header: Header,
    size: AtomicU64,
    /// Also of blocks that the disk may grow by.
    bitmap: Bitmap,
    windows: Windows,
    locks: Arc<RangeLocks>,
    commits: Commits,
    gate: Arc<Gate>,
    /// Writes to owned blocks exclude each other, too.
    lock_owned: AtomicBool,
    /// All of a closed delta is durable.
    settled: AtomicBool,
    /// What is written to it is not to last.
    ephemeral: bool,
    failed: OnceLock<Arc<Error>>,
}

/// Leave to write a range. The delta stays the top layer as long as it lives.
#[derive(Debug)]
pub(crate) struct Permit {
    /// Where some blocks are not owned: nobody else takes ownership in the range while it is held.
    /// Blocks that are owned need no lock, since nothing takes ownership away.
    taking: Option<RangeGuard>,
    _pass: Pass,
}

impl Delta {
    /// Opens and locks the delta at `path`.
    pub(crate) fn open(path: &Path) -> Result<Delta> {
        Delta::load(path, Arc::new(FileStorage::locked(layer(path, For::Writing)?)))
    }

    /// Reads the delta in `storage`; `path` is what errors call it.
    pub(crate) fn load(path: &Path, storage: Arc<dyn Storage>) -> Result<Delta> {
        let header = load::header(&*storage, path)?;
        let bitmap =
            Bitmap::new(header.most_blocks()).map_err(|_| Error::Memory { path: path.into() })?;
        let windows = Windows::default();
        load::bitmap(&*storage, path, &header, false, |sector, bits| {
            windows.insert(sector);
            bitmap.load(sector, bits);
        })?;
        Ok(Delta {
            path: path.into(),
            storage,
            size: AtomicU64::new(header.size),
            header,
            bitmap,
            windows,
            locks: Arc::default(),
            commits: Commits::default(),
            gate: Arc::default(),
            lock_owned: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            ephemeral: false,
            failed: OnceLock::new(),
        })
    }

    /// The same, but what is written to it is not to last: unless something else makes it durable,
    /// it is empty again when it is closed.
    pub(crate) fn ephemeral(mut self) -> Delta {
        self.ephemeral = true;
        self
    }

    pub(crate) fn is_ephemeral(&self) -> bool {
        self.ephemeral
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub(crate) fn bitmap(&self) -> &Bitmap {
        &self.bitmap
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(super) fn lock_owned(&self) -> &AtomicBool {
        &self.lock_owned
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The disk's length in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// It has this length from now on, also in the file.
    pub(super) fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    /// Blocks of the disk, the last one perhaps in part.
    pub(crate) fn blocks(&self) -> u64 {
        self.size().div_ceil(BLOCK)
    }

    /// Where in the file byte `at` of the disk lies, if it is owned.
    pub(crate) fn offset(&self, at: u64) -> u64 {
        self.header.data_offset + at
    }

    /// Whether the start of `range` is owned, and how many bytes from there on are alike.
    pub(crate) fn run(&self, range: Range<u64>) -> (bool, u64) {
        let (owned, blocks) = self.bitmap.run(blocks(&range));
        (owned, (blocks * BLOCK - range.start % BLOCK).min(range.end - range.start))
    }

    /// Leave to write `range`, or nothing where somebody is taking ownership of part of it; then
    /// `waker` is signalled when to try again.
    pub(crate) fn permit(&self, range: &Range<u64>, waker: &Arc<Wakeup>) -> Result<Option<Permit>> {
        self.check_failed()?;
        let Some(pass) = self.gate.enter(waker) else { return Ok(None) };
        let mut taking = None;
        let lock_owned = self.lock_owned.load(Ordering::Acquire);
        if lock_owned || !self.bitmap.contains_all(blocks(range)) {
            taking = self.locks.try_lock(blocks(range), waker);
            if taking.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(Permit { taking, _pass: pass }))
    }

    /// Takes no more writes, and returns when all that had begun are done.
    pub(crate) fn close(&self) {
        self.gate.close();
    }

    /// Another layer is on top now: tells those whom this one refused.
    pub(crate) fn succeeded(&self) {
        self.gate.leave_closed();
    }

    /// Whether nothing was ever written to it.
    pub(crate) fn is_empty(&self) -> bool {
        self.bitmap.run(0..self.blocks()) == (false, self.blocks())
    }

    /// Says in the file that nothing is written to this any more, and lets others read it. It has
    /// been closed, or nobody has it.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.settle()?;
        let frozen = rewrite(&*self.storage, &self.path, |header| header.state = State::Frozen);
        frozen.map_err(|error| self.fail(error))?;
        self.storage.share().map_err(Error::open(&self.path))
    }

    /// Makes durable what was written before it was [`close`](Delta::close)d: once, whoever asks.
    pub(crate) fn settle(&self) -> Result<()> {
        if !self.settled.load(Ordering::Acquire) {
            self.flush()?;
            self.settled.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// What must be copied up before `range` is written: the rest of its first and last block
    /// where they are not owned. Holds as long as the range's [`Permit`].
    pub(crate) fn missing(&self, range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
        let Range { start, end } = blocks(range);
        let head = start * BLOCK..range.start;
        let tail = range.end..end * BLOCK;
        let head = (!head.is_empty() && !self.bitmap.contains(start)).then_some(head);
        let tail = (!tail.is_empty() && !self.bitmap.contains(end - 1)).then_some(tail);
        #[cfg(test)]
        let head = head.filter(|_| !seeded(Bug::HeadForgotten));
        #[cfg(test)]
        let tail = tail.filter(|_| !seeded(Bug::TailForgotten));
        head.into_iter().chain(tail)
    }

    /// Writes bytes of the disk from `at` on.
    pub(crate) fn store(&self, bytes: &[u8], at: u64) -> Result<()> {
        let result = self.storage.write_all_at(bytes, self.offset(at));
        result.map_err(|error| self.write_failed(error, self.offset(at)))
    }

    /// Writes all of `from` at `at` of the disk.
    pub(crate) fn store_from(&self, from: &Buffers, at: u64) -> Result<()> {
        let result = self.storage.write_from(from, self.offset(at));
        result.map_err(|error| self.write_failed(error, self.offset(at)))
    }

    /// Makes `range` of the data area zeroes. Whole blocks only.
    pub(crate) fn punch(&self, range: Range<u64>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let at = range.start;
        let result = self.storage.punch_hole(self.offset(at)..self.offset(range.end));
        result.map_err(|error| self.write_failed(error, self.offset(at)))
    }

    /// All of `range` has been written under `permit`: it is read from here now.
    pub(crate) fn written(&self, range: &Range<u64>, permit: Permit) {
        if permit.taking.is_some() {
            self.bitmap.insert(blocks(range));
        }
    }

    /// Makes all writes that have been [`written`](Delta::written) durable.
    pub(crate) fn flush(&self) -> Result<()> {
        self.commits.join(|| self.commit())
    }

    fn commit(&self) -> Result<()> {
        self.check_failed()?;
        let mut from = 0;
        loop {
            let taken = self.bitmap.take_pending(from, MOST_TAKEN);
            // Of what these bits speak of, and of the bits of the last time round.
            self.sync()?;
            #[cfg(test)]
            let taken = taken_late(&self.bitmap, taken);
            let Some(last) = taken.last() else { return Ok(()) };
            from = last.sector + 1;
            if let Err(error) = self.write_bitmap(&taken) {
                self.bitmap.put_back(&taken);
                return Err(error);
            }
            if taken.len() < MOST_TAKEN {
                return self.sync();
            }
        }
    }

    pub(super) fn sync(&self) -> Result<()> {
        self.storage.sync().map_err(|error| self.fail(Error::sync(&self.path)(error)))
    }

    fn write_bitmap(&self, taken: &[Snapshot]) -> Result<()> {
        let sectors = self.blocks().div_ceil(SECTOR_BLOCKS);
        let mut bytes = Vec::new();
        for span in self.windows.spans(taken, sectors) {
            bytes.clear();
            let mut taken = span.taken.iter().peekable();
            for sector in span.sectors.clone() {
                match taken.next_if(|snapshot| snapshot.sector == sector) {
                    Some(snapshot) => {
                        bytes.extend(self.header.encode_sector(sector, &snapshot.bits))
                    }
                    None => bytes.extend([0; SECTOR_LEN]),
                }
            }
            let at = self.header.sector_at(span.sectors.start);
            let result = self.storage.write_all_at(&bytes, at);
            result.map_err(|error| self.write_failed(error, at))?;
            self.windows.insert(span.sectors.start);
        }
        Ok(())
    }

    /// What a failed write at byte `at` of the file means: a full disk is an error for the one
    /// operation, all else is the end.
    pub(crate) fn write_failed(&self, error: io::Error, at: u64) -> Error {
        let error = Error::write(&self.path, at)(error);
        if error.kind() == ErrorKind::NoSpace { error } else { self.fail(error) }
    }

    /// Nothing is written after this.
    pub(super) fn fail(&self, error: Error) -> Error {
        #[cfg(test)]
        if seeded(Bug::ErrorForgotten) {
            return error;
        }
        let error = Arc::clone(self.failed.get_or_init(|| Arc::new(error)));
        Error::Failed { path: self.path.clone(), source: error }
    }

    /// Nothing is written any more, and nothing more becomes durable.
    pub(crate) fn abandon(&self) {
        self.failed.get_or_init(|| Arc::new(Error::Interrupted));
    }

    fn check_failed(&self) -> Result<()> {
        match self.failed.get() {
            None => Ok(()),
            Some(error) => {
                Err(Error::Failed { path: self.path.clone(), source: Arc::clone(error) })
            }
        }
    }
}

impl Drop for Delta {
    /// An orderly end loses nothing, flushed or not: data is with the host's kernel already, but
    /// bits would go with this process.
    fn drop(&mut self) {
        if self.ephemeral || self.failed.get().is_some() || !self.bitmap.has_pending() {
            return;
        }
        if let Err(error) = self.flush() {
            log::error!("what was not flushed may be lost: {}", chain(&error));
        }
    }
}

impl fmt::Debug for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Delta({}, {:?})", self.path.display(), self.bitmap)
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The blocks that bytes of the disk are in.
fn blocks(range: &Range<u64>) -> Range<u64> {
    range.start / BLOCK..range.end.div_ceil(BLOCK)
}
