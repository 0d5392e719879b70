//! Open-file-description locks (fcntl(2), `F_OFD_SETLK`).
//!
//! Such a lock belongs to the open file: a child inherits it without a gap, and it is gone with
//! the last process that has the file open, however that ended. Asking whether it is held takes no
//! lock, so a question never makes somebody else's attempt fail.
#![allow(unsafe_code, reason = "no crate at hand wraps fcntl's F_OFD_* commands")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Takes the lock exclusively; `false` when somebody else has it.
///
/// # Errors
/// The filesystem has no such locks.
pub fn try_exclusive(file: &File) -> io::Result<bool> {
    match fcntl(file, libc::F_OFD_SETLK, &mut whole_file()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether another open file holds the lock.
///
/// # Errors
/// The filesystem has no such locks.
pub fn is_held(file: &File) -> io::Result<bool> {
    let mut lock = whole_file();
    fcntl(file, libc::F_OFD_GETLK, &mut lock)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// An exclusive lock on every byte; `l_pid` must be 0 for OFD locks.
fn whole_file() -> libc::flock {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the constants fit what fcntl(2) has them in"
    )]
    let (l_type, l_whence) = (libc::F_WRLCK as i16, libc::SEEK_SET as i16);
    libc::flock { l_type, l_whence, l_start: 0, l_len: 0, l_pid: 0 }
}

fn fcntl(file: &File, command: i32, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file` is borrowed, and for the two commands used
    // here the kernel reads and writes one `struct flock`, which `lock` points to.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_open_file_holds_it_and_others_see_that() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            options.open(dir.path().join("lock")).expect("a file")
        };
        let (mine, other) = (open(), open());
        assert!(try_exclusive(&mine).expect("lock"));
        assert!(!is_held(&mine).expect("query"));
        assert!(is_held(&other).expect("query"));
        assert!(!try_exclusive(&other).expect("lock"));
        drop(mine);
        assert!(!is_held(&other).expect("query"));
        assert!(try_exclusive(&other).expect("lock"));
    }
}
