//! Waiting for another process, and saying so when that takes long: whoever has been stopped with a
//! lock in hand keeps others waiting for ever.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::output;

/// How long somebody waits before he wants to know what for.
const LONG: Duration = Duration::from_secs(2);

/// Does what may `wait` for whoever has the lock on `file`, and says who that is if it takes long.
pub fn tell_while<T>(file: &File, wait: impl FnOnce() -> T) -> T {
    let (waits, ended) = mpsc::channel::<()>();
    let tell = move || {
        if ended.recv_timeout(LONG) == Err(RecvTimeoutError::Timeout) {
            output::tell(&format!("offshoot: waiting for {}\n", who_locks(file)));
        }
    };
    thread::scope(|scope| {
        // Where no thread can be had, it waits in silence.
        let _ = thread::Builder::new().spawn_scoped(scope, tell);
        let result = wait();
        drop(waits);
        result
    })
}

/// Who has an `flock(2)` on a file, in words.
fn who_locks(file: &File) -> String {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let holder = file.metadata().ok().and_then(|file| holder(&locks, file.ino()));
    match holder {
        Some(pid) => format!("another command that changes this store: process {pid}"),
        None => "another command that changes this store".into(),
    }
}

/// Which process `/proc/locks` says has an exclusive `flock(2)` on the file of this inode.
fn holder(locks: &str, inode: u64) -> Option<u32> {
    let of_file = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", _, file, ..] = words[..] else { return false };
        file.rsplit(':').next().and_then(|inode| inode.parse().ok()) == Some(inode)
    };
    let line = locks.lines().find(of_file)?;
    line.split_whitespace().nth(4)?.parse().ok().filter(|&pid| pid != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_and_not_who_waits_for_it() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fe:00:7 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 fe:00:8 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 13 fe:00:7 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 14 fe:00:7 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 0 fe:00:9 0 EOF\n";
        assert_eq!(holder(locks, 7), Some(13));
        assert_eq!((holder(locks, 9), holder(locks, 10), holder("", 7)), (None, None, None));
    }
}
