//! Memory an operation reads into or writes from.
#![allow(unsafe_code, reason = "raw memory shared with a guest has no safe Rust type")]

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A run of memory, as `struct iovec` has it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Piece {
    /// First byte.
    pub start: *mut u8,
    /// Length in bytes.
    pub len: usize,
}

/// A list of memory pieces, and whatever keeps them mapped.
///
/// The memory may be a guest's: it changes under us, so nobody may form a Rust reference to it,
/// and nothing read from it may be trusted twice.
pub struct Buffers {
    pieces: Vec<Piece>,
    len: usize,
    _owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the pieces stay mapped as long as `_owner` lives, which may be sent; they are only
// ever handed to the kernel or copied through raw pointers, from whatever thread.
unsafe impl Send for Buffers {}

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
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffers({} bytes in {} pieces)", self.len, self.pieces.len())
    }
}
