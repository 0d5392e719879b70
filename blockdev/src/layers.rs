//! Open layers: where each byte of the disk is, and the verbs that wait for their I/O.
//!
//! The synchronous engine and the worker behind io_uring run these; io_uring itself moves bytes
//! between the places [`Layers::lookup`] tells.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::base::OpenBase;
use crate::buffers::Buffers;
use crate::delta::{BLOCK, BLOCK_LEN, Delta, Permit, SECTOR};
use crate::io::Storage;
use crate::io::wakeup::Wakeup;
use crate::{Error, Op, Result};

/// Which layer of a stack, counted from the bottom.
pub(crate) type LayerIndex = usize;
const BASE: LayerIndex = 0;
const DELTA: LayerIndex = 1;

/// Where bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a layer's file, from this offset on.
    Data { layer: LayerIndex, offset: u64 },
    /// Nowhere: they are zeroes.
    Zero,
}

/// At most one delta over a base.
#[derive(Debug)]
pub(crate) struct Layers {
    base: OpenBase,
    delta: Option<Delta>,
    size: u64,
    /// How many bytes of the base show through.
    visible: u64,
}

impl Layers {
    /// Puts `delta` over `base`, if it belongs there.
    pub(crate) fn new(base: OpenBase, delta: Option<Delta>) -> Result<Layers> {
        let base_size = base.identity().size;
        let (size, visible) = match &delta {
            None => (base_size.next_multiple_of(SECTOR), base_size),
            Some(delta) => {
                check_parent(delta, &base)?;
                (delta.header().size, delta.header().parent.visible)
            }
        };
        Ok(Layers { base, delta, size, visible })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn read_only(&self) -> bool {
        self.delta.is_none()
    }

    /// The layers' storages, from the bottom.
    pub(crate) fn storages(&self) -> impl Iterator<Item = &dyn Storage> {
        std::iter::once(self.base.storage()).chain(self.delta.as_ref().map(Delta::storage))
    }

    /// The path of a layer, for errors.
    pub(crate) fn path(&self, layer: LayerIndex) -> &Path {
        match &self.delta {
            Some(delta) if layer == DELTA => delta.path(),
            _ => self.base.path(),
        }
    }

    pub(crate) fn delta(&self) -> Result<&Delta> {
        self.delta.as_ref().ok_or(Error::ReadOnly)
    }

    /// The place of the first byte of `range`, and how many bytes from there on lie in a row.
    pub(crate) fn lookup(&self, range: Range<u64>) -> (Place, u64) {
        let Some(delta) = &self.delta else { return self.lookup_below(range) };
        match delta.run(range.clone()) {
            (true, len) => (Place::Data { layer: DELTA, offset: delta.offset(range.start) }, len),
            (false, len) => self.lookup_below(range.start..range.start + len),
        }
    }

    /// As [`lookup`](Layers::lookup), below the delta.
    fn lookup_below(&self, range: Range<u64>) -> (Place, u64) {
        if range.start < self.visible {
            let end = range.end.min(self.visible);
            (Place::Data { layer: BASE, offset: range.start }, end - range.start)
        } else {
            (Place::Zero, range.end - range.start)
        }
    }

    /// That `op` is within the disk and allowed. Everything below relies on it.
    pub(crate) fn check(&self, op: &Op) -> Result<()> {
        let Some((at, len)) = op.span() else { return Ok(()) };
        let size = self.size;
        let whole = at.is_multiple_of(SECTOR) && len.is_multiple_of(SECTOR);
        if !whole || at.checked_add(len).is_none_or(|end| end > size) {
            return Err(Error::Range { at, len, size });
        }
        if self.read_only() && !matches!(op, Op::Read { .. }) {
            return Err(Error::ReadOnly);
        }
        Ok(())
    }

    /// Leave for an operation that writes `range`; nothing where it must wait for `waker`.
    pub(crate) fn permit(&self, range: &Range<u64>, waker: &Arc<Wakeup>) -> Result<Option<Permit>> {
        self.delta()?.permit(range, waker)
    }

    /// Does all of `op`. One that writes a range needs its `permit`.
    pub(crate) fn perform(&self, op: &Op, permit: Option<Permit>) -> Result<()> {
        match (op, permit) {
            (Op::Read { at, into }, _) => self.read(*at, into),
            (Op::Write { at, from }, Some(permit)) => self.write(*at, from, permit),
            (Op::Discard(range) | Op::Zero(range), Some(permit)) => self.zero(range, permit),
            // Without a permit there was nothing to write, as in an empty range.
            (Op::Write { .. } | Op::Discard(_) | Op::Zero(_), None) => Ok(()),
            (Op::Flush, _) => self.flush(),
        }
    }

    fn read(&self, at: u64, into: &Buffers) -> Result<()> {
        let (mut done, len) = (0, into.len() as u64);
        while done < len {
            let (place, count) = self.lookup(at + done..at + len);
            let part = bytes(done)..bytes(done + count);
            match place {
                Place::Zero => into.fill_zero(part),
                Place::Data { layer, offset } => {
                    let path = self.path(layer);
                    let result = self.storage(layer).read_into(into, part, offset);
                    result.map_err(Error::read(path, offset))?;
                }
            }
            done += count;
        }
        Ok(())
    }

    fn write(&self, at: u64, from: &Buffers, permit: Permit) -> Result<()> {
        let range = at..at + from.len() as u64;
        let delta = self.delta()?;
        self.copy_up(delta, &range)?;
        delta.store_from(from, at)?;
        delta.written(&range, permit);
        Ok(())
    }

    fn zero(&self, range: &Range<u64>, permit: Permit) -> Result<()> {
        const ZEROES: [u8; BLOCK_LEN] = [0; BLOCK_LEN];
        let delta = self.delta()?;
        self.copy_up(delta, range)?;
        // The disk's last block counts as whole: nothing but zeroes is behind the disk's end.
        let end = if range.end == self.size {
            range.end.next_multiple_of(BLOCK)
        } else {
            range.end / BLOCK * BLOCK
        };
        let whole = range.start.next_multiple_of(BLOCK)..end;
        let (head, tail) = if whole.is_empty() {
            (range.clone(), 0..0)
        } else {
            delta.punch(whole.clone())?;
            (range.start..whole.start, whole.end..range.end.max(whole.end))
        };
        for part in in_blocks(head).chain(in_blocks(tail)) {
            delta.store(&ZEROES[..bytes(part.end - part.start)], part.start)?;
        }
        delta.written(range, permit);
        Ok(())
    }

    /// Whether part of a block has to be copied up before `range` is written. Holds as long as the
    /// range's permit.
    pub(crate) fn must_copy_up(&self, range: &Range<u64>) -> bool {
        self.delta.as_ref().is_some_and(|delta| delta.missing(range).next().is_some())
    }

    /// Where a write at `at` goes. Needs a permit, so there is a delta.
    pub(crate) fn write_place(&self, at: u64) -> (LayerIndex, u64) {
        let delta = self.delta.as_ref().expect("a permit is a delta's");
        (DELTA, delta.offset(at))
    }

    /// All of `range` has been written under `permit`.
    pub(crate) fn written(&self, range: &Range<u64>, permit: Permit) {
        if let Some(delta) = &self.delta {
            delta.written(range, permit);
        }
    }

    /// What a failed read or write at `offset` of a layer's file means.
    pub(crate) fn transfer_failed(
        &self,
        layer: LayerIndex,
        offset: u64,
        written: bool,
        error: std::io::Error,
    ) -> Error {
        match &self.delta {
            Some(delta) if written => delta.write_failed(error, offset),
            _ => Error::read(self.path(layer), offset)(error),
        }
    }

    /// Makes everything durable whose `Done` has been returned.
    pub(crate) fn flush(&self) -> Result<()> {
        self.delta.as_ref().map_or(Ok(()), Delta::flush)
    }

    /// Completes the blocks that `range` covers in part and the delta does not own.
    fn copy_up(&self, delta: &Delta, range: &Range<u64>) -> Result<()> {
        for part in delta.missing(range) {
            let mut block = [0; BLOCK_LEN];
            let block = &mut block[..bytes(part.end - part.start)];
            if let (Place::Data { offset, .. }, count) = self.lookup_below(part.clone()) {
                let storage = self.base.storage();
                let result = storage.read_exact_at(&mut block[..bytes(count)], offset);
                result.map_err(Error::read(self.base.path(), offset))?;
            }
            delta.store(block, part.start)?;
        }
        Ok(())
    }

    fn storage(&self, layer: LayerIndex) -> &dyn Storage {
        match &self.delta {
            Some(delta) if layer == DELTA => delta.storage(),
            _ => self.base.storage(),
        }
    }
}

/// That `delta` was made on top of `base`. (Whether the base's file is what was recorded of it has
/// been checked when it was opened.)
fn check_parent(delta: &Delta, base: &OpenBase) -> Result<()> {
    let (parent, found) = (&delta.header().parent, base.identity());
    let digest = blake3::Hash::from_bytes(parent.digest).to_hex().to_string();
    let facts = [
        ("uuid", parent.uuid.to_string(), found.uuid.to_string()),
        ("epoch", parent.epoch.to_string(), "0".to_owned()),
        ("size", parent.size.to_string(), found.size.to_string()),
        ("digest", digest, found.digest.clone()),
    ];
    for (what, expected, found) in facts {
        if expected != found {
            let (delta, base) = (delta.path().into(), base.path().into());
            return Err(Error::WrongParent { delta, base, what, expected, found });
        }
    }
    Ok(())
}

/// Cuts a range shorter than two blocks at the block boundary.
fn in_blocks(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let middle = (range.start / BLOCK * BLOCK + BLOCK).min(range.end);
    [range.start..middle, middle..range.end].into_iter().filter(|part| !part.is_empty())
}

/// A number of bytes within some buffer.
fn bytes(count: u64) -> usize {
    usize::try_from(count).expect("no longer than a buffer in memory")
}
