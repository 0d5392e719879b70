//! A storage that is a file of the host.
#![allow(unsafe_code, reason = "preadv and pwritev on memory shared with a guest")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use super::Storage;
use crate::buffers::{Source, Target};
use crate::open::Lock;

/// A regular file (or, to read from, a block device).
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    lock: Option<Lock>,
}

impl FileStorage {
    /// Takes an open file; what may be done with it is how it was opened.
    #[must_use]
    pub fn new(file: File) -> Self {
        FileStorage { file, lock: None }
    }

    /// As [`new`](FileStorage::new), keeping the file locked.
    pub(crate) fn locked((file, lock): (File, Lock)) -> Self {
        FileStorage { file, lock: Some(lock) }
    }

    fn write_zeroes(&self, range: Range<u64>) -> io::Result<()> {
        const ZEROES: &[u8] = &[0; 64 * 1024];
        let mut at = range.start;
        while at < range.end {
            let len = ZEROES.len().min(usize::try_from(range.end - at).unwrap_or(usize::MAX));
            (self as &dyn Storage).write_all_at(&ZEROES[..len], at)?;
            at += len as u64;
        }
        Ok(())
    }
}

impl Storage for FileStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(seek(&self.file, SeekFrom::End(0))?)
    }

    fn read_at(&self, into: &Target<'_>, at: u64) -> io::Result<usize> {
        let (iovecs, count, at) = arguments(into.iovecs(), at)?;
        // SAFETY: `into` is valid for writes by its contract, and has as many pieces as we say.
        returned(unsafe { libc::preadv(self.file.as_raw_fd(), iovecs, count, at) })
    }

    fn read_now(&self, into: &Target<'_>, at: u64) -> io::Result<usize> {
        let ((iovecs, count, at), fd) = (arguments(into.iovecs(), at)?, self.file.as_raw_fd());
        // SAFETY: `into` is valid for writes by its contract, and has as many pieces as we say.
        returned(unsafe { libc::preadv2(fd, iovecs, count, at, libc::RWF_NOWAIT) })
    }

    fn write_at(&self, from: &Source<'_>, at: u64) -> io::Result<usize> {
        let (iovecs, count, at) = arguments(from.iovecs(), at)?;
        // SAFETY: `from` is valid for reads by its contract, and has as many pieces as we say.
        returned(unsafe { libc::pwritev(self.file.as_raw_fd(), iovecs, count, at) })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn punch_hole(&self, range: Range<u64>) -> io::Result<()> {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        loop {
            match fallocate(&self.file, punch, range.start, range.end - range.start) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP) => return self.write_zeroes(range),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn next_data(&self, at: u64) -> io::Result<Option<Range<u64>>> {
        let start = match seek(&self.file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            // The filesystem or the device does not tell holes: all of it may be data.
            Err(Errno::INVAL) => {
                let end = self.len()?;
                return Ok((at < end).then_some(at..end));
            }
            Err(error) => return Err(error.into()),
        };
        let end = seek(&self.file, SeekFrom::Hole(start))?;
        Ok(Some(start..end))
    }

    fn share(&self) -> io::Result<()> {
        self.lock.as_ref().map_or(Ok(()), Lock::share)
    }

    fn unlock(&self) -> io::Result<()> {
        self.lock.as_ref().map_or(Ok(()), Lock::unlock)
    }

    fn exclude(&self) -> io::Result<bool> {
        self.lock.as_ref().map_or(Ok(true), Lock::exclude)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

fn arguments(
    iovecs: &[libc::iovec],
    at: u64,
) -> io::Result<(*const libc::iovec, libc::c_int, libc::off_t)> {
    let count = libc::c_int::try_from(iovecs.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let at = libc::off_t::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok((iovecs.as_ptr(), count, at))
}

fn returned(count: isize) -> io::Result<usize> {
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}
