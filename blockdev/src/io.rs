//! What moves bytes: storages (files, or what stands in for one) and the engines on top.
//!
//! An engine is told places and never asks what they mean.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use crate::buffers::{Buffers, Source, Target};

pub mod file;
#[cfg(any(test, feature = "test-support"))]
pub mod mem;
pub(crate) mod quick;
pub(crate) mod sync;
pub(crate) mod uring;
pub(crate) mod wakeup;
pub(crate) mod worker;

pub use file::FileStorage;

/// What a format needs of a file; small enough to fake, so that crashes can be generated.
///
/// Reads and writes may be short, as the system calls are; the methods on `dyn Storage` go on
/// until all is done. All take `&self` and may be called from several threads at once.
#[allow(clippy::len_without_is_empty, reason = "a file's length, not a collection's")]
pub trait Storage: Send + Sync + fmt::Debug {
    /// The length in bytes.
    ///
    /// # Errors
    /// As the system says.
    fn len(&self) -> io::Result<u64>;

    /// Reads from `at` on into the start of `into` and returns how many bytes; 0 at the end.
    ///
    /// # Errors
    /// As the system says.
    fn read_at(&self, into: &Target<'_>, at: u64) -> io::Result<usize>;

    /// As [`read_at`](Storage::read_at), but only what is in memory already.
    ///
    /// # Errors
    /// Any where it would have to wait, or does not know.
    fn read_now(&self, _into: &Target<'_>, _at: u64) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Writes the start of `from` at `at` and returns how many bytes. Not durable before a
    /// [`sync`](Storage::sync).
    ///
    /// # Errors
    /// As the system says.
    fn write_at(&self, from: &Source<'_>, at: u64) -> io::Result<usize>;

    /// Makes it `len` bytes long, with a hole at the end where it grows.
    ///
    /// # Errors
    /// As the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes `range` read as zeroes, giving its space back where possible.
    ///
    /// # Errors
    /// As the system says.
    fn punch_hole(&self, range: Range<u64>) -> io::Result<()>;

    /// Makes all that was done before durable (`fdatasync`).
    ///
    /// # Errors
    /// Nobody knows what is durable after one.
    fn sync(&self) -> io::Result<()>;

    /// The first range at or after `at` that is not known to be a hole.
    ///
    /// # Errors
    /// As the system says.
    fn next_data(&self, at: u64) -> io::Result<Option<Range<u64>>>;

    /// Locks it for reading: others may read it, this process writes to it no more.
    ///
    /// # Errors
    /// As the system says.
    fn share(&self) -> io::Result<()> {
        Ok(())
    }

    /// Gives up its lock.
    ///
    /// # Errors
    /// As the system says.
    fn unlock(&self) -> io::Result<()> {
        Ok(())
    }

    /// Locks it so that nobody else can read or write; false where somebody does. It must have been
    /// opened for writing.
    ///
    /// # Errors
    /// As the system says.
    fn exclude(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// The file descriptor, where there is one, for engines that talk to the kernel themselves.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl dyn Storage + '_ {
    /// The first part of `range` that is not known to be a hole; none where all of it is one.
    ///
    /// # Errors
    /// `UnexpectedEof` where the storage ends before `range` does: what is cut off is no hole. Else as
    /// the system says.
    pub(crate) fn data_in(&self, range: Range<u64>) -> io::Result<Option<Range<u64>>> {
        let data = self.next_data(range.start)?.filter(|data| data.start < range.end);
        let seen = data.as_ref().map_or(range.start, |data| data.end);
        if seen < range.end && self.len()? < range.end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(data)
    }

    /// Fills `buf` with the bytes from `at` on.
    ///
    /// # Errors
    /// `UnexpectedEof` where the storage ends before; else as the system says.
    pub fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest @ [_, ..]) = buf.get_mut(done..) {
            match self.read_at(&Target::from(rest), at + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(error) if again(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `buf` at `at`.
    ///
    /// # Errors
    /// As the system says.
    pub fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest @ [_, ..]) = buf.get(done..) {
            match self.write_at(&Source::from(rest), at + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if again(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fills `range` of `into` with the bytes from `at` on.
    ///
    /// # Errors
    /// As `read_exact_at`.
    pub fn read_into(&self, into: &Buffers, range: Range<usize>, at: u64) -> io::Result<()> {
        let mut done = range.start;
        while done < range.end {
            match self.read_at(&into.target(done..range.end), at + (done - range.start) as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(error) if again(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `from` at `at`.
    ///
    /// # Errors
    /// As the system says.
    pub fn write_from(&self, from: &Buffers, at: u64) -> io::Result<()> {
        let mut done = 0;
        while done < from.len() {
            match self.write_at(&from.source(done..from.len()), at + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if again(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether the call merely has to be made again.
pub(crate) fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}
