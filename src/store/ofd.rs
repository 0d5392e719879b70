//! Open-file-description locks (fcntl(2), `F_OFD_SETLK`).
//!
//! Such a lock belongs to the open file: a child inherits it without a gap, and it is gone with
//! the last process that has the file open, however that ended. Asking whether it is held takes no
//! lock, so a question never makes somebody else's attempt fail.
#![allow(unsafe_code, reason = "no crate at hand wraps fcntl's F_OFD_* commands")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// Bytes before this are shared; the one as far behind it as a number says is the sharer's of that
/// number. They need not be in the file.
const SHARERS: i64 = 1 << 40;

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

/// Takes the lock with others who share it, each under a number of its own below 2^32; `false` when
/// somebody has it alone, or has that number.
///
/// # Errors
/// The filesystem has no such locks.
pub fn try_shared(file: &File, number: u32) -> io::Result<bool> {
    let own = SHARERS + i64::from(number);
    // Whoever shares it can be counted from the first moment on.
    for (kind, bytes) in [(libc::F_WRLCK, own..own + 1), (libc::F_RDLCK, 0..SHARERS)] {
        match fcntl(file, libc::F_OFD_SETLK, &mut part(kind, bytes)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The numbers of those who share the lock, in order; none where one has it alone.
///
/// # Errors
/// The filesystem has no such locks.
pub fn sharers(file: &File) -> io::Result<Vec<u32>> {
    let (mut found, mut rest) = (Vec::new(), vec![(SHARERS, SHARERS + (1 << 32))]);
    while let Some((start, end)) = rest.pop() {
        let mut lock = part(libc::F_RDLCK, start..end);
        fcntl(file, libc::F_OFD_GETLK, &mut lock)?;
        if i32::from(lock.l_type) == libc::F_UNLCK {
            continue;
        }
        let Ok(number) = u32::try_from(lock.l_start - SHARERS) else { return Ok(Vec::new()) };
        found.push(number);
        // Any of them may be told first.
        let sides = [(start, lock.l_start), (lock.l_start + 1, end)];
        rest.extend(sides.into_iter().filter(|(start, end)| start < end));
    }
    found.sort_unstable();
    Ok(found)
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

/// An exclusive lock on every byte.
fn whole_file() -> libc::flock {
    libc::flock { l_len: 0, ..part(libc::F_WRLCK, 0..1) }
}

/// A lock on these bytes; `l_pid` must be 0 for OFD locks.
#[allow(clippy::cast_possible_truncation, reason = "the constants fit what fcntl(2) has them in")]
fn part(kind: i32, bytes: Range<i64>) -> libc::flock {
    let (l_type, l_whence) = (kind as i16, libc::SEEK_SET as i16);
    let (l_start, l_len) = (bytes.start, bytes.end - bytes.start);
    libc::flock { l_type, l_whence, l_start, l_len, l_pid: 0 }
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

    fn open(dir: &tempfile::TempDir) -> File {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        options.open(dir.path().join("lock")).expect("a file")
    }

    #[test]
    fn those_who_share_it_are_counted_and_keep_others_from_having_it_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let numbers = [7, 1, u32::MAX, 8, 100_000];
        let files = numbers.map(|number| (number, open(&dir)));
        for (number, file) in &files {
            assert!(try_shared(file, *number).expect("lock"));
        }
        let other = open(&dir);
        assert_eq!(sharers(&other).expect("query"), [1, 7, 8, 100_000, u32::MAX]);
        assert!(!try_shared(&other, 7).expect("lock"), "the number is taken");
        assert!(!try_exclusive(&other).expect("lock") && is_held(&other).expect("query"));
        drop(files);
        assert!(sharers(&other).expect("query").is_empty());
        assert!(try_exclusive(&other).expect("lock"));
    }

    #[test]
    fn who_has_it_alone_shares_it_with_nobody() {
        let dir = tempfile::tempdir().expect("a directory");
        let (alone, other) = (open(&dir), open(&dir));
        assert!(try_exclusive(&alone).expect("lock"));
        assert!(!try_shared(&other, 1).expect("lock"));
        assert!(sharers(&other).expect("query").is_empty());
    }

    #[test]
    fn one_open_file_holds_it_and_others_see_that() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mine, other) = (open(&dir), open(&dir));
        assert!(try_exclusive(&mine).expect("lock"));
        assert!(!is_held(&mine).expect("query"));
        assert!(is_held(&other).expect("query"));
        assert!(!try_exclusive(&other).expect("lock"));
        drop(mine);
        assert!(!is_held(&other).expect("query"));
        assert!(try_exclusive(&other).expect("lock"));
    }
}
