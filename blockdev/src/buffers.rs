//! Memory an operation reads into or writes from, and cuts of it for one system call.
//!
//! The memory may be a guest's: it changes under us, so no Rust reference to it is ever formed.
//! It is handed to the kernel, or copied through raw pointers, and nothing read from it is
//! trusted twice.
#![allow(unsafe_code, reason = "raw memory shared with a guest has no safe Rust type")]

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::ptr;
use std::slice;
use std::sync::Arc;

/// How many pieces one system call takes (`IOV_MAX`).
const PIECES_PER_CALL: usize = 1024;

/// A run of memory, as `struct iovec` has it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Piece {
    /// First byte.
    pub start: *mut u8,
    /// Length in bytes.
    pub len: usize,
}

const _: () = assert!(size_of::<Piece>() == size_of::<libc::iovec>());

/// A list of memory pieces, and whatever keeps them mapped.
pub struct Buffers {
    pieces: Vec<Piece>,
    len: usize,
    _owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the pieces stay mapped as long as `_owner` lives, which may be sent; they are only
// ever handed to the kernel or copied through raw pointers, from whatever thread.
unsafe impl Send for Buffers {}

/// Memory of our own behind some [`Buffers`]; reached through the pieces' pointers alone.
struct Heap(*mut [u8]);

// SAFETY: the pointer is an owning one, as a `Box`'s; nothing is reachable through `&Heap`.
unsafe impl Send for Heap {}
// SAFETY: as above.
unsafe impl Sync for Heap {}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: `self.0` came from `Box::into_raw` and is freed here only.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

impl Buffers {
    /// Wraps memory that `owner` keeps mapped.
    ///
    /// # Safety
    /// Each piece is valid for reads and writes until `owner` is dropped, and no Rust reference
    /// to it is alive while an operation uses it.
    #[must_use]
    pub unsafe fn from_raw_parts(pieces: Vec<Piece>, owner: Arc<dyn Any + Send + Sync>) -> Self {
        let len = pieces.iter().map(|piece| piece.len).sum();
        Buffers { pieces, len, _owner: owner }
    }

    /// Memory of its own, one piece for each vector, with the vectors' bytes in it.
    #[must_use]
    pub fn from_vecs(vecs: Vec<Vec<u8>>) -> Self {
        let heaps: Vec<Heap> =
            vecs.into_iter().map(|vec| Heap(Box::into_raw(vec.into_boxed_slice()))).collect();
        let pieces = heaps.iter().map(|heap| Piece { start: heap.0.cast(), len: heap.0.len() });
        let pieces = pieces.collect();
        // SAFETY: the pieces are the allocations that `heaps` owns, and `Heap` gives out no
        // references to them.
        unsafe { Buffers::from_raw_parts(pieces, Arc::new(heaps)) }
    }

    /// Memory of its own with the bytes of `vec` in it.
    #[must_use]
    pub fn from_vec(vec: Vec<u8>) -> Self {
        Buffers::from_vecs(vec![vec])
    }

    /// A copy of all bytes, as they are now.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        let mut done = 0;
        while done < self.len {
            let cut = self.source(done..self.len);
            cut.copy_to(&mut bytes[done..done + cut.len()]);
            done += cut.len();
        }
        bytes
    }

    /// The pieces, in order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The length of all pieces together, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte in any piece.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The start of `range` as far as one system call reaches, to write from.
    #[must_use]
    pub fn source(&self, range: Range<usize>) -> Source<'_> {
        Source(self.cut(range))
    }

    /// The start of `range` as far as one system call reaches, to read into.
    #[must_use]
    pub fn target(&self, range: Range<usize>) -> Target<'_> {
        Target(self.cut(range))
    }

    /// Stores zeroes into `range`.
    pub fn fill_zero(&self, range: Range<usize>) {
        let mut done = range.start;
        while done < range.end.min(self.len) {
            let cut = self.target(done..range.end);
            cut.fill_zero();
            done += cut.len();
        }
    }

    fn cut(&self, range: Range<usize>) -> Cut<'_> {
        let mut cut = Cut { iovecs: Iovecs::default(), len: 0, _memory: PhantomData };
        let (mut skip, mut left) = (range.start, range.end.saturating_sub(range.start));
        for piece in &self.pieces {
            if left == 0 || cut.iovecs.len() == PIECES_PER_CALL {
                break;
            }
            if skip >= piece.len {
                skip -= piece.len;
                continue;
            }
            let len = left.min(piece.len - skip);
            cut.push(piece.start.wrapping_add(skip), len);
            left -= len;
            skip = 0;
        }
        cut
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffers({} bytes in {} pieces)", self.len, self.pieces.len())
    }
}

/// Pieces in the form `preadv` takes, kept while the kernel may look at them.
pub(crate) enum Iovecs {
    /// As most have; no allocation.
    One(libc::iovec),
    /// Any number. They stay where they are when this moves.
    Many(Vec<libc::iovec>),
}

// SAFETY: addresses, handed to the kernel only; whoever does that answers for the memory.
unsafe impl Send for Iovecs {}

impl Iovecs {
    fn push(&mut self, iovec: libc::iovec) {
        match self {
            Iovecs::Many(many) if many.is_empty() => *self = Iovecs::One(iovec),
            Iovecs::Many(many) => many.push(iovec),
            Iovecs::One(first) => *self = Iovecs::Many(vec![*first, iovec]),
        }
    }
}

impl Default for Iovecs {
    fn default() -> Self {
        Iovecs::Many(Vec::new())
    }
}

impl Deref for Iovecs {
    type Target = [libc::iovec];

    fn deref(&self) -> &[libc::iovec] {
        match self {
            Iovecs::One(one) => slice::from_ref(one),
            Iovecs::Many(many) => many,
        }
    }
}

/// Memory that stays valid for `'a`.
struct Cut<'a> {
    iovecs: Iovecs,
    len: usize,
    _memory: PhantomData<&'a ()>,
}

impl Cut<'_> {
    fn push(&mut self, start: *mut u8, len: usize) {
        self.iovecs.push(libc::iovec { iov_base: start.cast(), iov_len: len });
        self.len += len;
    }
}

/// Memory to write from: part of some [`Buffers`], or a slice. Only this file makes one, so
/// whoever gets one may rely on it: valid for reads as long as the borrow lasts.
pub struct Source<'a>(Cut<'a>);

impl Source<'_> {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Its pieces, at most as many as one system call takes.
    #[must_use]
    pub fn iovecs(&self) -> &[libc::iovec] {
        &self.0.iovecs
    }

    /// The pieces, for whoever keeps the memory valid by other means than the borrow.
    pub(crate) fn into_iovecs(self) -> Iovecs {
        self.0.iovecs
    }

    /// Copies the first bytes into `to`, as many as both have.
    pub fn copy_to(&self, mut to: &mut [u8]) {
        for iovec in self.0.iovecs.iter() {
            let (now, rest) = to.split_at_mut(iovec.iov_len.min(to.len()));
            // SAFETY: the source is valid for `iov_len` bytes by this type's contract; `now` is
            // ours alone and no longer than that.
            unsafe {
                ptr::copy_nonoverlapping(iovec.iov_base.cast(), now.as_mut_ptr(), now.len());
            }
            to = rest;
        }
    }
}

impl<'a> From<&'a [u8]> for Source<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        let mut cut = Cut { iovecs: Iovecs::default(), len: 0, _memory: PhantomData };
        cut.push(bytes.as_ptr().cast_mut(), bytes.len());
        Source(cut)
    }
}

/// Memory to read into: part of some [`Buffers`], or a slice. Only this file makes one, so
/// whoever gets one may rely on it: valid for writes as long as the borrow lasts.
pub struct Target<'a>(Cut<'a>);

impl Target<'_> {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Its pieces, at most as many as one system call takes.
    #[must_use]
    pub fn iovecs(&self) -> &[libc::iovec] {
        &self.0.iovecs
    }

    /// The pieces, for whoever keeps the memory valid by other means than the borrow.
    pub(crate) fn into_iovecs(self) -> Iovecs {
        self.0.iovecs
    }

    /// Copies `from` into the first bytes, as many as both have.
    pub fn copy_from(&self, mut from: &[u8]) {
        for iovec in self.0.iovecs.iter() {
            let (now, rest) = from.split_at(iovec.iov_len.min(from.len()));
            // SAFETY: the target is valid for `iov_len` bytes by this type's contract, and `now`
            // is no longer than that.
            unsafe { ptr::copy(now.as_ptr(), iovec.iov_base.cast(), now.len()) };
            from = rest;
        }
    }

    fn fill_zero(&self) {
        for iovec in self.0.iovecs.iter() {
            // SAFETY: the target is valid for `iov_len` bytes by this type's contract.
            unsafe { ptr::write_bytes(iovec.iov_base.cast::<u8>(), 0, iovec.iov_len) };
        }
    }
}

impl<'a> From<&'a mut [u8]> for Target<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        let mut cut = Cut { iovecs: Iovecs::default(), len: 0, _memory: PhantomData };
        cut.push(bytes.as_mut_ptr(), bytes.len());
        Target(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three_pieces() -> Buffers {
        Buffers::from_vecs(vec![vec![1, 2, 3], vec![], vec![4, 5], vec![6]])
    }

    #[test]
    fn a_cut_spans_pieces_and_ends_with_the_range() {
        let buffers = three_pieces();
        let cut = buffers.source(2..5);
        let mut bytes = [0; 3];
        cut.copy_to(&mut bytes);
        assert_eq!((cut.len(), bytes), (3, [3, 4, 5]));
    }

    #[test]
    fn a_cut_past_the_end_is_short() {
        assert_eq!(three_pieces().source(5..90).len(), 1);
        assert!(three_pieces().source(6..90).is_empty());
        assert_eq!(three_pieces().source(Range { start: 4, end: 2 }).len(), 0);
    }

    #[test]
    fn a_cut_takes_no_more_pieces_than_a_system_call() {
        let buffers = Buffers::from_vecs(vec![vec![7]; PIECES_PER_CALL + 5]);
        assert_eq!(buffers.source(0..buffers.len()).len(), PIECES_PER_CALL);
        assert_eq!(buffers.to_vec(), vec![7; PIECES_PER_CALL + 5]);
    }

    #[test]
    fn copying_and_zeroing_touch_their_range_only() {
        let buffers = three_pieces();
        buffers.target(1..4).copy_from(&[9, 9, 9]);
        buffers.fill_zero(3..5);
        assert_eq!(buffers.to_vec(), [1, 9, 9, 0, 0, 6]);
    }
}
