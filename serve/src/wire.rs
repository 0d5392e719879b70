//! Moving bytes between a socket and a disk's buffers, without a copy on the way.
#![allow(unsafe_code, reason = "sendmsg and recvmsg on memory that is known by address")]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use blockdev::buffers::{Source, Target};

/// Pieces one call moves; the system's limit.
pub(crate) const MOST_PIECES: usize = 1024;

/// Whether a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Wait until something can be moved.
    Wait,
    /// `WouldBlock` instead of waiting.
    Now,
}

impl Patience {
    fn flags(self) -> libc::c_int {
        match self {
            Patience::Wait => 0,
            Patience::Now => libc::MSG_DONTWAIT,
        }
    }
}

/// Sends the start of `from`, at most [`MOST_PIECES`] pieces of it, and returns how many bytes.
///
/// # Errors
/// As sendmsg(2) says.
pub(crate) fn send(
    socket: &impl AsFd,
    from: &[Source<'_>],
    patience: Patience,
) -> io::Result<usize> {
    let pieces = from.iter().flat_map(Source::iovecs).take(MOST_PIECES).copied().collect();
    // SAFETY: the pieces are readable as long as `from` is borrowed, by the contract of `Source`,
    // and sendmsg only reads them.
    unsafe { call(socket.as_fd(), pieces, libc::MSG_NOSIGNAL | patience.flags(), sendmsg) }
}

/// Receives into the start of `into`, at most [`MOST_PIECES`] pieces of it, and returns how many
/// bytes; 0 at the end of the stream.
///
/// # Errors
/// As recvmsg(2) says.
pub(crate) fn receive(
    socket: &impl AsFd,
    into: &[Target<'_>],
    patience: Patience,
) -> io::Result<usize> {
    let pieces = into.iter().flat_map(Target::iovecs).take(MOST_PIECES).copied().collect();
    // SAFETY: the pieces are writable as long as `into` is borrowed, by the contract of `Target`,
    // and recvmsg writes to nothing else.
    unsafe { call(socket.as_fd(), pieces, patience.flags(), libc::recvmsg) }
}

/// sendmsg(2) in the shape of recvmsg(2).
///
/// # Safety
/// As for both: `message` points to pieces that are valid.
unsafe extern "C" fn sendmsg(
    socket: libc::c_int,
    message: *mut libc::msghdr,
    flags: libc::c_int,
) -> isize {
    // SAFETY: as the caller promises.
    unsafe { libc::sendmsg(socket, message, flags) }
}

type Call = unsafe extern "C" fn(libc::c_int, *mut libc::msghdr, libc::c_int) -> isize;

/// # Safety
/// `pieces` are valid for what `call` does with them.
unsafe fn call(
    socket: BorrowedFd<'_>,
    mut pieces: Vec<libc::iovec>,
    flags: libc::c_int,
    call: Call,
) -> io::Result<usize> {
    // SAFETY: zeroes are a message without address, pieces and control data.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = pieces.len() as _;
    // SAFETY: the descriptor is open, `message` is whole, and the caller answers for the pieces.
    let count = unsafe { call(socket.as_raw_fd(), &raw mut message, flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Copies the start of `from` into `into`, as [`receive`] would.
#[cfg(any(test, feature = "test-support"))]
pub(crate) fn fill(into: &[Target<'_>], from: &[u8]) -> usize {
    let mut left = from;
    for target in into {
        let count = target.len().min(left.len());
        target.copy_from(left.get(..count).unwrap_or_default());
        left = left.get(count..).unwrap_or_default();
    }
    from.len() - left.len()
}
