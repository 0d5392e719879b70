//! Opening a layer's file: a regular one, not through a symlink, and locked.
#![allow(unsafe_code, reason = "rustix has no open-file-description locks")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, fcntl_setfl, open};

use crate::{Error, Result};

/// What a layer is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// Reading, with a lock that keeps writers out.
    Reading,
    /// Reading and writing, with a lock that keeps everybody else out.
    Writing,
    /// Reading and writing what readers do not notice, with a lock that keeps writers out, and
    /// others of this kind.
    Merging,
}

/// The byte of a file that stands for merging into it; all before it, for reading it.
const MERGING: libc::off_t = 1 << 62;

/// Holds a layer's lock until dropped.
///
/// It has an open file description of its own. The kernel tears an io_uring down some time after
/// its process is gone, and with it the files registered there; a lock on one of those would keep
/// a layer in use that nobody uses.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Keeps everybody else out from now on; false where somebody is there.
    pub(crate) fn exclude(&self) -> io::Result<bool> {
        try_lock(&self.file, libc::F_WRLCK, 0..MERGING + 1)
    }

    /// Keeps nobody out from now on.
    pub(crate) fn unlock(&self) -> io::Result<()> {
        try_lock(&self.file, libc::F_UNLCK, 0..MERGING + 1).map(drop)
    }

    /// Keeps only writers out from now on.
    pub(crate) fn share(&self) -> io::Result<()> {
        let shared = try_lock(&self.file, libc::F_RDLCK, 0..MERGING)?;
        let free = try_lock(&self.file, libc::F_UNLCK, MERGING..MERGING + 1)?;
        debug_assert!(shared && free, "nobody else can have kept this from us");
        Ok(())
    }
}

/// Opens and locks the layer at `path`.
pub(crate) fn layer(path: &Path, purpose: For) -> Result<(File, Lock)> {
    let lock = regular(path, purpose)?;
    let wanted = match purpose {
        For::Reading => vec![(libc::F_RDLCK, 0..MERGING)],
        For::Writing => vec![(libc::F_WRLCK, 0..MERGING + 1)],
        For::Merging => vec![(libc::F_RDLCK, 0..MERGING), (libc::F_WRLCK, MERGING..MERGING + 1)],
    };
    for (kind, bytes) in wanted {
        if !try_lock(&lock, kind, bytes).map_err(Error::open(path))? {
            return Err(Error::Busy { path: path.into() });
        }
    }
    let file = regular(path, purpose)?;
    let identity = |file: &File| file.metadata().map(|found| (found.dev(), found.ino()));
    if identity(&file).map_err(Error::open(path))? != identity(&lock).map_err(Error::open(path))? {
        // Somebody put another file in its place between the two calls.
        return Err(Error::Busy { path: path.into() });
    }
    Ok((file, Lock { file: lock }))
}

/// Opens the layer at `path` without a lock, to read what a writer may be changing.
pub(crate) fn unlocked(path: &Path) -> Result<File> {
    regular(path, For::Reading)
}

fn regular(path: &Path, purpose: For) -> Result<File> {
    let access = if purpose == For::Reading { OFlags::RDONLY } else { OFlags::RDWR };
    // NONBLOCK: opening a FIFO must not wait for its other end.
    let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd =
        open(path, flags, Mode::empty()).map_err(io::Error::from).map_err(Error::open(path))?;
    let file = File::from(fd);
    if !file.metadata().map_err(Error::open(path))?.is_file() {
        return Err(Error::NotAFile { path: path.into() });
    }
    // To io_uring NONBLOCK does mean something: EAGAIN, where a filesystem would have to wait.
    fcntl_setfl(&file, OFlags::empty()).map_err(io::Error::from).map_err(Error::open(path))?;
    Ok(file)
}

/// Locks these bytes of the file, which need not be there; false where somebody else's lock
/// forbids it.
fn try_lock(file: &File, kind: libc::c_int, bytes: Range<libc::off_t>) -> io::Result<bool> {
    let lock = libc::flock {
        l_type: libc::c_short::try_from(kind).map_err(|_| io::ErrorKind::InvalidInput)?,
        l_whence: 0,
        l_start: bytes.start,
        l_len: bytes.end - bytes.start,
        l_pid: 0,
    };
    // SAFETY: the file descriptor is open, and F_OFD_SETLK reads one `flock`, which `lock` is.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}
