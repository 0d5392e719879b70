//! Guest memory as a disk takes it.
#![allow(unsafe_code, reason = "a disk is handed guest memory by address")]

use std::sync::Arc;

use blockdev::{Buffers, Piece};
use vm_memory::{GuestMemoryBackend, GuestMemoryError};

use crate::virtio::GuestMemory;
use crate::virtio::chain::Span;

/// The memory of `span`, to be read or written in place.
///
/// # Errors
/// A part of it is not memory.
pub(super) fn guest_buffers(
    memory: &Arc<GuestMemory>,
    span: &Span<'_>,
) -> Result<Buffers, GuestMemoryError> {
    let mut pieces = Vec::new();
    for segment in span.segments() {
        for slice in memory.get_slices(segment.start, segment.len as usize) {
            let slice = slice?;
            pieces.push(Piece { start: slice.ptr_guard_mut().as_ptr(), len: slice.len() });
        }
    }
    // SAFETY: each piece is a slice of a region of `memory`, mapped for reading and writing until
    // the last reference to the region is dropped, and we hand over one. No one forms references
    // into guest memory: vm-memory copies through raw pointers.
    Ok(unsafe { Buffers::from_raw_parts(pieces, memory.clone()) })
}
