//! Open layers: where each byte of the disk is, and the verbs that wait for their I/O.
//!
//! ```text
//!   delta         one bit test          ─┐
//!   recent        one bit test each      ├─►  Place { layer, offset }
//!   base, merged  one owner map lookup  ─┘
//! ```
//!
//! Recent layers are those frozen while this stack was open, until they are merged into the map.
//! The synchronous engine and the worker behind io_uring run the verbs here; io_uring itself moves
//! bytes between the places [`Layers::lookup`] tells.
//!
//! A `Layers` never changes, but for what its delta owns: a snapshot makes another one.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use crate::base::OpenBase;
use crate::buffers::Buffers;
use crate::chain::{Below, Chain};
use crate::delta::{BLOCK, BLOCK_LEN, Delta, Frozen, Header, Permit, SECTOR, State};
use crate::io::Storage;
use crate::io::wakeup::Wakeup;
use crate::owners::Owners;
#[cfg(test)]
use crate::seeded::{Bug, bits_cleared, bits_early, seeded};
use crate::{Error, Op, Result};

/// Which layer of a stack, counted from the bottom; 0 is the base's place, taken or not.
pub(crate) type LayerIndex = usize;

/// Where bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a layer's file, from this offset on.
    Data { layer: LayerIndex, offset: u64 },
    /// Nowhere: they are zeroes.
    Zero,
}

/// A layer's file, and where in it the disk's first byte would be.
#[derive(Clone, Debug)]
struct Layer {
    /// Who it is, wherever it is by now.
    uuid: Uuid,
    /// Where it was opened.
    path: PathBuf,
    storage: Arc<dyn Storage>,
    data_offset: u64,
    /// How many bytes of the layers below show through.
    visible: u64,
}

/// A chain in use.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    /// From the bottom up. Without a base, nothing ever is at 0.
    files: Vec<Option<Layer>>,
    /// How many bytes of each merged layer show through the merged ones above it.
    limits: Vec<u64>,
    /// Of the merged layers: `limits.len()` of them, the base with them.
    owners: Arc<Owners>,
    /// Those between the merged ones and the delta, from the bottom up.
    recent: Vec<Arc<Delta>>,
    delta: Option<Arc<Delta>>,
    size: u64,
}

impl Layers {
    /// The layers of `chain`, whose frozen ones `owners` is of.
    pub(crate) fn new(chain: Chain, owners: Owners) -> Layers {
        let Chain { base, frozen, delta } = chain;
        let base_size = base.as_ref().map_or(0, |base| base.identity().size);
        let frozen_size = frozen.last().map(|layer| layer.header().size);
        let size = match &delta {
            Some(delta) => delta.size(),
            None => frozen_size.unwrap_or(base_size.next_multiple_of(SECTOR)),
        };
        let mut files = vec![base.map(Layer::base)];
        files.extend(frozen.iter().map(|layer| Some(Layer::frozen(layer))));
        let top = frozen_size.unwrap_or(base_size);
        let limits = limits(&files, top);
        let delta = delta.map(Arc::new);
        files.extend(delta.iter().map(|delta| Some(Layer::delta(delta))));
        let owners = Arc::new(owners);
        Layers { files, limits, owners, recent: Vec::new(), delta, size }
    }

    /// The same at the length its delta has now.
    pub(crate) fn resized(&self) -> Layers {
        let size = self.delta.as_ref().map_or(self.size, |delta| delta.size());
        Layers { size, ..self.clone() }
    }

    /// The same with `top`, which must stand on the present delta, as the delta.
    pub(crate) fn with_top(&self, top: Arc<Delta>) -> Layers {
        let mut files = self.files.clone();
        files.push(Some(Layer::delta(&top)));
        let mut recent = self.recent.clone();
        recent.extend(self.delta.clone());
        let (limits, owners) = (self.limits.clone(), self.owners.clone());
        let size = top.size();
        Layers { files, limits, owners, recent, delta: Some(top), size }
    }

    /// The same as far as `visible`, and zeroes from there on.
    pub(crate) fn seen_through(mut self, visible: u64) -> Layers {
        self.limits.iter_mut().for_each(|limit| *limit = visible.min(*limit));
        self
    }

    /// The same with `delta` on top, which owns what differs.
    pub(crate) fn under(mut self, delta: &Arc<Delta>) -> Layers {
        let visible = self.limits.last().copied().unwrap_or(0);
        self.files.push(Some(Layer { visible, ..Layer::delta(delta) }));
        self.size = delta.size();
        self.delta = Some(Arc::clone(delta));
        self
    }

    /// Whether `place` here and `other` there are the same bytes of the same layer.
    pub(crate) fn is_same_place(&self, place: Place, there: &Layers, other: Place) -> bool {
        match (place, other) {
            (Place::Zero, Place::Zero) => true,
            (Place::Data { layer, offset }, Place::Data { layer: other, offset: at }) => {
                offset == at && self.file(layer).uuid == there.file(other).uuid
            }
            _ => false,
        }
    }

    /// How many of `len` bytes at `offset` of a layer's file are in a hole, from the first on.
    pub(crate) fn hole(&self, layer: LayerIndex, offset: u64, len: u64) -> Result<u64> {
        let file = self.file(layer);
        let data = file.storage.data_in(offset..offset + len);
        let data = data.map_err(Error::read(&file.path, offset))?;
        Ok(data.map_or(len, |data| data.start.saturating_sub(offset)))
    }

    /// The same with all but the delta merged.
    pub(crate) fn merged(&self) -> Result<Layers> {
        let mut owners = Arc::clone(&self.owners);
        for (index, delta) in (self.limits.len()..).zip(&self.recent) {
            let no_memory = |_| Error::Memory { path: delta.path().into() };
            owners = Arc::new(owners.under(delta, index).map_err(no_memory)?);
        }
        let merged = self.limits.len() + self.recent.len();
        let top = self.recent.last().map_or_else(|| self.top_limit(), |top| top.size());
        let limits = limits(&self.files[..merged], top);
        let (files, delta) = (self.files.clone(), self.delta.clone());
        Ok(Layers { files, limits, owners, recent: Vec::new(), delta, size: self.size })
    }

    fn top_limit(&self) -> u64 {
        self.limits.last().copied().unwrap_or(0)
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn read_only(&self) -> bool {
        self.delta().is_err()
    }

    /// The layers' storages, from the bottom; none in the place of a base that is not there.
    pub(crate) fn storages(&self) -> impl Iterator<Item = Option<&dyn Storage>> {
        self.files.iter().map(|file| file.as_ref().map(|file| &*file.storage))
    }

    /// What is at `layer`.
    fn file(&self, layer: LayerIndex) -> &Layer {
        self.files[layer].as_ref().expect("no place is in a base that is not there")
    }

    /// Where the layer `uuid` was opened, and its storage.
    pub(crate) fn layer_of(&self, uuid: Uuid) -> Option<(&Path, &Arc<dyn Storage>)> {
        let layer = self.files.iter().flatten().find(|layer| layer.uuid == uuid);
        layer.map(|layer| (&*layer.path, &layer.storage))
    }

    /// The storage of a layer that something is in.
    pub(crate) fn storage(&self, layer: LayerIndex) -> &dyn Storage {
        &*self.file(layer).storage
    }

    /// The path of a layer, for errors.
    pub(crate) fn path(&self, layer: LayerIndex) -> &Path {
        &self.file(layer).path
    }

    /// The delta, if it may be written to.
    pub(crate) fn delta(&self) -> Result<&Arc<Delta>> {
        let live = self.delta.as_ref().filter(|delta| delta.header().state == State::Live);
        live.ok_or(Error::ReadOnly)
    }

    /// The delta, for those who change nothing that is read.
    pub(crate) fn top(&self) -> Result<&Arc<Delta>> {
        self.delta.as_ref().ok_or(Error::ReadOnly)
    }

    /// Bytes of memory that knowing where everything is takes.
    pub(crate) fn memory(&self) -> usize {
        let deltas = self.recent.iter().chain(&self.delta);
        self.owners.memory() + deltas.map(|delta| bytes(delta.blocks().div_ceil(8))).sum::<usize>()
    }

    /// The place of the first byte of `range`, and how many bytes from there on lie in a row.
    pub(crate) fn lookup(&self, range: Range<u64>) -> (Place, u64) {
        let Some(delta) = &self.delta else { return self.lookup_merged(range) };
        match delta.run(range.clone()) {
            (true, len) => (self.data(self.files.len() - 1, range.start), len),
            (false, len) => self.lookup_below(range.start..range.start + len),
        }
    }

    /// As [`lookup`](Layers::lookup), below the delta.
    pub(crate) fn lookup_below(&self, mut range: Range<u64>) -> (Place, u64) {
        for above in (self.limits.len()..self.files.len()).rev() {
            let visible = self.file(above).visible;
            if range.start >= visible {
                return (Place::Zero, range.end - range.start);
            }
            range.end = range.end.min(visible);
            let below = above - 1;
            let Some(delta) = below.checked_sub(self.limits.len()) else { break };
            match self.recent[delta].run(range.clone()) {
                (true, len) => return (self.data(below, range.start), len),
                (false, len) => range.end = range.start + len,
            }
        }
        self.lookup_merged(range)
    }

    fn lookup_merged(&self, range: Range<u64>) -> (Place, u64) {
        let len = range.end - range.start;
        let (owner, blocks) = self.owners.run(range.start / BLOCK..range.end.div_ceil(BLOCK));
        let len = len.min(blocks * BLOCK - range.start % BLOCK);
        let limit = self.limits[usize::from(owner)];
        if range.start >= limit {
            return (Place::Zero, len);
        }
        (self.data(owner.into(), range.start), len.min(limit - range.start))
    }

    fn data(&self, layer: LayerIndex, at: u64) -> Place {
        Place::Data { layer, offset: self.file(layer).data_offset + at }
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
                    let file = self.file(layer);
                    let result = file.storage.read_into(into, part, offset);
                    result.map_err(Error::read(&file.path, offset))?;
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
        #[cfg(test)]
        bits_early(Bug::BitBeforeWrite, delta, &range);
        delta.store_from(from, at)?;
        delta.written(&range, permit);
        Ok(())
    }

    fn zero(&self, range: &Range<u64>, permit: Permit) -> Result<()> {
        const ZEROES: [u8; BLOCK_LEN] = [0; BLOCK_LEN];
        let delta = self.delta()?;
        self.copy_up(delta, range)?;
        #[cfg(test)]
        bits_early(Bug::BitBeforePunch, delta, range);
        // Not the disk's last block where the disk ends in it: it may have grown since `range` was
        // checked, and others may have written behind its old end.
        let whole = range.start.next_multiple_of(BLOCK)..range.end / BLOCK * BLOCK;
        let (head, tail) = if whole.is_empty() {
            (range.clone(), 0..0)
        } else {
            delta.punch(whole.clone())?;
            (range.start..whole.start, whole.end..range.end)
        };
        for part in in_blocks(head).chain(in_blocks(tail)) {
            delta.store(&ZEROES[..bytes(part.end - part.start)], part.start)?;
        }
        delta.written(range, permit);
        #[cfg(test)]
        bits_cleared(delta, range);
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
        (self.files.len() - 1, delta.offset(at))
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

    /// As [`sync`](Layers::sync), unless what is written is not to last.
    pub(crate) fn flush(&self) -> Result<()> {
        let ephemeral = self.delta.as_ref().is_some_and(|delta| delta.is_ephemeral());
        if ephemeral { Ok(()) } else { self.sync() }
    }

    /// Makes everything durable whose `Done` has been returned.
    ///
    /// What was written before a snapshot is durable first: nothing durable stands on what is not.
    pub(crate) fn sync(&self) -> Result<()> {
        for delta in &self.recent {
            #[cfg(test)]
            if seeded(Bug::TopDoesNotWait) {
                break;
            }
            delta.settle()?;
        }
        self.delta.as_ref().map_or(Ok(()), |delta| delta.flush())
    }

    /// Completes the blocks that `range` covers in part and the delta does not own.
    fn copy_up(&self, delta: &Delta, range: &Range<u64>) -> Result<()> {
        for part in delta.missing(range) {
            let mut block = [0; BLOCK_LEN];
            let block = &mut block[..bytes(part.end - part.start)];
            self.read_below(block, part.start)?;
            delta.store(block, part.start)?;
        }
        Ok(())
    }

    /// Fills `into` with what is at `at` below the delta.
    pub(crate) fn read_below(&self, into: &mut [u8], at: u64) -> Result<()> {
        self.gather(into, at, |range| self.lookup_below(range))
    }

    /// Fills `into` with what is at `at`.
    pub(crate) fn read_bytes(&self, into: &mut [u8], at: u64) -> Result<()> {
        self.gather(into, at, |range| self.lookup(range))
    }

    fn gather(
        &self,
        into: &mut [u8],
        at: u64,
        lookup: impl Fn(Range<u64>) -> (Place, u64),
    ) -> Result<()> {
        let (mut done, end) = (0, at + into.len() as u64);
        while let Some(rest @ [_, ..]) = into.get_mut(done..) {
            let (place, len) = lookup(at + done as u64..end);
            let part = &mut rest[..bytes(len)];
            match place {
                Place::Zero => part.fill(0),
                Place::Data { layer, offset } => {
                    let file = self.file(layer);
                    let result = file.storage.read_exact_at(part, offset);
                    result.map_err(Error::read(&file.path, offset))?;
                }
            }
            done += part.len();
        }
        Ok(())
    }

    /// That `top` may become the delta.
    pub(crate) fn check_top(&self, top: &Delta) -> Result<()> {
        let delta = self.delta()?;
        let header = Header { size: delta.size(), ..delta.header().clone() };
        Below::Delta(delta.path(), &header).check(top.path(), top.header())
    }
}

impl Layer {
    fn base(base: OpenBase) -> Layer {
        let (path, storage) = (base.path().into(), Arc::clone(base.storage()));
        Layer { uuid: base.identity().uuid, path, storage, data_offset: 0, visible: 0 }
    }

    fn frozen(layer: &Frozen) -> Layer {
        Layer {
            uuid: layer.header().uuid,
            path: layer.path().into(),
            storage: Arc::clone(layer.storage()),
            data_offset: layer.header().data_offset,
            visible: layer.header().parent.visible,
        }
    }

    fn delta(delta: &Delta) -> Layer {
        Layer {
            uuid: delta.header().uuid,
            path: delta.path().into(),
            storage: Arc::clone(delta.storage()),
            data_offset: delta.header().data_offset,
            visible: delta.header().parent.visible,
        }
    }
}

/// How many bytes of each layer show through those above it; of the topmost, `top`.
fn limits(files: &[Option<Layer>], top: u64) -> Vec<u64> {
    let mut limit = top;
    let mut limits: Vec<u64> = files
        .iter()
        .rev()
        .map(|file| {
            let own = limit;
            limit = limit.min(file.as_ref().map_or(0, |file| file.visible));
            own
        })
        .collect();
    limits.reverse();
    limits
}

/// Cuts a range shorter than two blocks at the block boundary.
fn in_blocks(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let middle = (range.start / BLOCK * BLOCK + BLOCK).min(range.end);
    [range.start..middle, middle..range.end].into_iter().filter(|part| !part.is_empty())
}

/// A number of bytes within some buffer.
pub(crate) fn bytes(count: u64) -> usize {
    usize::try_from(count).expect("no longer than a buffer in memory")
}
