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

/// Bytes before this are the lock itself; the one as far behind it as a number says is its taker's of
/// that number. They need not be in the file.
const NUMBERS: i64 = 1 << 40;
/// Behind the last number.
const END: i64 = NUMBERS + (1 << 32);

/// Takes the lock alone, under a number below 2^32 that says who has it; `false` when somebody else
/// has it.
///
/// # Errors
/// The filesystem has no such locks.
pub fn try_alone(file: &File, number: u32) -> io::Result<bool> {
    try_under(file, number, libc::F_WRLCK)
}

/// Takes the lock with others who share it, each under a number of its own below 2^32; `false` when
/// somebody has it alone, or has that number.
///
/// # Errors
/// The filesystem has no such locks.
pub fn try_shared(file: &File, number: u32) -> io::Result<bool> {
    try_under(file, number, libc::F_RDLCK)
}

fn try_under(file: &File, number: u32, kind: i32) -> io::Result<bool> {
    let own = NUMBERS + i64::from(number);
    // Whoever has it can be told from the first moment on.
    for (kind, bytes) in [(libc::F_WRLCK, own..own + 1), (kind, 0..NUMBERS)] {
        match fcntl(file, libc::F_OFD_SETLK, &mut part(kind, bytes)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Has a lock that was taken alone say no number any more: something else says who has it.
///
/// # Errors
/// The filesystem has no such locks.
pub fn hide_number(file: &File) -> io::Result<()> {
    // Who tries to take it has a number for as long as that fails, which is waited for.
    let all = || fcntl(file, libc::F_OFD_SETLKW, &mut part(libc::F_WRLCK, NUMBERS..END));
    loop {
        match all() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Has a lock that was taken alone say its number again.
///
/// # Errors
/// The filesystem has no such locks.
pub fn show_number(file: &File, number: u32) -> io::Result<()> {
    let own = NUMBERS + i64::from(number);
    for others in [NUMBERS..own, own + 1..END] {
        if !others.is_empty() {
            fcntl(file, libc::F_OFD_SETLK, &mut part(libc::F_UNLCK, others))?;
        }
    }
    Ok(())
}

/// The numbers of the others who have the lock, in order; `None` where one has it alone and hides
/// that.
///
/// # Errors
/// The filesystem has no such locks.
pub fn numbers(file: &File) -> io::Result<Option<Vec<u32>>> {
    let (mut found, mut rest) = (Vec::new(), vec![(NUMBERS, END)]);
    while let Some((start, end)) = rest.pop() {
        let mut lock = part(libc::F_RDLCK, start..end);
        fcntl(file, libc::F_OFD_GETLK, &mut lock)?;
        if i32::from(lock.l_type) == libc::F_UNLCK {
            continue;
        }
        let Ok(number) = u32::try_from(lock.l_start - NUMBERS) else { return Ok(None) };
        found.push(number);
        // Any of them may be told first.
        let sides = [(start, lock.l_start), (lock.l_start + 1, end)];
        rest.extend(sides.into_iter().filter(|(start, end)| start < end));
    }
    found.sort_unstable();
    Ok(Some(found))
}

/// Whether another open file holds the lock, alone or not.
///
/// # Errors
/// The filesystem has no such locks.
pub fn is_held(file: &File) -> io::Result<bool> {
    // All bytes: other kinds of files are locked in ways of their own.
    conflicts(file, libc::flock { l_len: 0, ..part(libc::F_WRLCK, 0..1) })
}

/// How others have a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Not at all.
    Free,
    /// Together.
    Shared,
    /// One has it.
    Alone,
}

/// How other open files have the lock at this moment, whatever numbers they have.
///
/// # Errors
/// The filesystem has no such locks.
pub fn held(file: &File) -> io::Result<Held> {
    let mut lock = part(libc::F_WRLCK, 0..NUMBERS);
    fcntl(file, libc::F_OFD_GETLK, &mut lock)?;
    Ok(match i32::from(lock.l_type) {
        libc::F_UNLCK => Held::Free,
        libc::F_RDLCK => Held::Shared,
        _ => Held::Alone,
    })
}

/// Whether another open file's lock keeps this one from being had.
fn conflicts(file: &File, mut lock: libc::flock) -> io::Result<bool> {
    fcntl(file, libc::F_OFD_GETLK, &mut lock)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// A lock on these bytes; `l_pid` must be 0 for OFD locks.
#[allow(clippy::cast_possible_truncation, reason = "the constants fit what fcntl(2) has them in")]
fn part(kind: i32, bytes: Range<i64>) -> libc::flock {
    let (l_type, l_whence) = (kind as i16, libc::SEEK_SET as i16);
    let (l_start, l_len) = (bytes.start, bytes.end - bytes.start);
    libc::flock { l_type, l_whence, l_start, l_len, l_pid: 0 }
}

fn fcntl(file: &File, command: i32, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file` is borrowed, and for the commands used here
    // the kernel reads and writes one `struct flock`, which `lock` points to.
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
        let shared = [7, 1, u32::MAX, 8, 100_000];
        let files = shared.map(|number| (number, open(&dir)));
        for (number, file) in &files {
            assert!(try_shared(file, *number).expect("lock"));
        }
        let other = open(&dir);
        let all = Some(vec![1, 7, 8, 100_000, u32::MAX]);
        assert_eq!(numbers(&other).expect("query"), all);
        assert_eq!(held(&other).expect("query"), Held::Shared);
        assert!(!try_shared(&other, 7).expect("lock"), "the number is taken");
        assert!(!try_alone(&other, 9).expect("lock") && is_held(&other).expect("query"));
        drop((files, other));
        let other = open(&dir);
        assert_eq!(numbers(&other).expect("query"), Some(Vec::new()));
        assert!(try_alone(&other, 9).expect("lock"));
    }

    #[test]
    fn who_has_it_alone_shares_it_with_nobody_and_says_who_it_is_unless_that_is_hidden() {
        let dir = tempfile::tempdir().expect("a directory");
        let (alone, other) = (open(&dir), open(&dir));
        assert!(try_alone(&alone, 5).expect("lock"));
        assert!(!try_shared(&open(&dir), 1).expect("lock"));
        assert!(!try_alone(&open(&dir), 1).expect("lock"));
        let told = || (numbers(&other).expect("query"), held(&other).expect("query"));
        assert_eq!(told(), (Some(vec![5]), Held::Alone));
        hide_number(&alone).expect("lock");
        assert_eq!(told(), (None, Held::Alone));
        assert!(!try_alone(&open(&dir), 5).expect("lock"));
        show_number(&alone, 5).expect("lock");
        assert_eq!(told(), (Some(vec![5]), Held::Alone));
    }

    #[test]
    fn one_open_file_holds_it_and_others_see_that() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mine, other) = (open(&dir), open(&dir));
        assert!(try_alone(&mine, 1).expect("lock"));
        assert!(!is_held(&mine).expect("query"));
        assert!(is_held(&other).expect("query"));
        drop(mine);
        assert!(!is_held(&other).expect("query"));
        assert!(try_alone(&other, 2).expect("lock"));
    }
}
