//! The seam between a virtual disk and whoever uses it.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use crate::{Buffers, Result};

/// A virtual disk: a fixed-length array of bytes. Offsets are in bytes, checked here, once.
///
/// One `Disk` belongs to one thread (a virtqueue's worker). Several disks may stand on the same
/// [`Stack`](crate::Stack); their writes and flushes are ordered by the stack.
pub trait Disk: Send {
    /// The length in bytes, a multiple of 512.
    fn size(&self) -> u64;
    /// Whether every write is refused.
    fn read_only(&self) -> bool;
    /// Takes `op` in; its buffers come back in the [`Done`] with the same tag.
    ///
    /// May be held back and batched until the next [`poll`](Disk::poll). A bad range, a write to
    /// a read-only disk, a failed I/O are all reported by `Done`, never here.
    fn submit(&mut self, op: Op, tag: Tag);
    /// Starts what `submit` held back and appends what has finished. Never waits for I/O in
    /// flight; an operation that is alone may be done here and now, where the last ones of its
    /// kind were quick.
    ///
    /// # Errors
    /// Only when the engine itself is broken; the disk is then of no further use.
    fn poll(&mut self, done: &mut Vec<Done>) -> Result<()>;
    /// Becomes readable when there is a reason to call `poll` again. What a `submit` was given is
    /// not one: call `poll` after submitting, then wait for this.
    fn wakeup(&self) -> BorrowedFd<'_>;
    /// Operations submitted whose `Done` has not been returned yet.
    fn in_flight(&self) -> usize;
}

/// Names an operation between [`Disk::submit`] and its [`Done`]. Chosen by the submitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub u64);

/// One operation. Ranges and offsets are in bytes and multiples of 512.
#[derive(Debug)]
pub enum Op {
    /// Fill `into` with the bytes from `at` on.
    Read {
        /// Where on the disk.
        at: u64,
        /// How much, and whereto.
        into: Buffers,
    },
    /// Store `from` at `at`. Durable after a later `Flush`.
    Write {
        /// Where on the disk.
        at: u64,
        /// How much, and wherefrom.
        from: Buffers,
    },
    /// Make every write whose `Done` was returned before this call durable.
    Flush,
    /// The range's contents are no longer needed; it reads as zeroes afterwards.
    Discard(Range<u64>),
    /// The range reads as zeroes afterwards.
    Zero(Range<u64>),
}

impl Op {
    /// Start and length of what is asked for, in bytes; the length of a range that ends before it
    /// starts is beyond any disk's.
    pub(crate) fn span(&self) -> Option<(u64, u64)> {
        match self {
            Op::Read { at, into: buffers } | Op::Write { at, from: buffers } => {
                Some((*at, buffers.len() as u64))
            }
            Op::Flush => None,
            Op::Discard(range) | Op::Zero(range) => {
                Some((range.start, range.end.checked_sub(range.start).unwrap_or(u64::MAX)))
            }
        }
    }

    /// What is written, if anything. Only of an operation that has been checked.
    pub(crate) fn written(&self) -> Option<Range<u64>> {
        let (at, len) = self.span()?;
        (len > 0 && !matches!(self, Op::Read { .. })).then(|| at..at + len)
    }

    /// The buffers that go back to the submitter.
    pub(crate) fn into_buffers(self) -> Option<Buffers> {
        match self {
            Op::Read { into: buffers, .. } | Op::Write { from: buffers, .. } => Some(buffers),
            Op::Flush | Op::Discard(_) | Op::Zero(_) => None,
        }
    }
}

/// A finished operation.
#[derive(Debug)]
pub struct Done {
    /// The tag it was submitted with.
    pub tag: Tag,
    /// How it ended.
    pub result: Result<()>,
    /// The buffers of a `Read` or `Write`.
    pub buffers: Option<Buffers>,
}
