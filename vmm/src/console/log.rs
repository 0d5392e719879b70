//! The console's log: a file that a talkative guest cannot make grow without end.

use std::fs::File;
use std::io::{self, Write};

use rustix::fs::{FallocateFlags, fallocate};

/// The log never has more bytes.
const LIMIT: u64 = 16 << 20;
/// What goes, oldest first, when it would. A multiple of every filesystem's block size.
pub const CUT: u64 = LIMIT / 2;

/// An open log. The file is appended to.
#[derive(Debug)]
pub struct Log {
    file: File,
    len: u64,
    broken: bool,
}

impl Log {
    /// Continues `file`, opened for appending.
    pub fn new(file: File) -> io::Result<Log> {
        let len = file.metadata()?.len();
        Ok(Log { file, len, broken: false })
    }

    /// Appends `bytes`. A log that cannot be written says so once, and the machine goes on.
    pub fn write(&mut self, bytes: &[u8]) {
        match self.append(bytes) {
            Ok(()) => self.broken = false,
            Err(error) if !self.broken => {
                log::warn!("cannot write the console's log: {error}; output is missing there");
                self.broken = true;
            }
            Err(_) => {}
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let len = u64::try_from(bytes.len()).expect("a length");
        if self.len.saturating_add(len) > LIMIT {
            self.forget()?;
        }
        self.file.write_all(bytes)?;
        self.len += len;
        Ok(())
    }

    /// Takes the oldest half out; everything where the filesystem cannot do that.
    fn forget(&mut self) -> io::Result<()> {
        if self.len < CUT || fallocate(&self.file, FallocateFlags::COLLAPSE_RANGE, 0, CUT).is_err()
        {
            self.file.set_len(0)?;
        }
        self.len = self.file.metadata()?.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    #[test]
    fn log_is_continued_and_keeps_only_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let open = || OpenOptions::new().create(true).append(true).open(&path).unwrap();
        Log::new(open()).unwrap().write(b"first run\n");
        let mut log = Log::new(open()).unwrap();
        log.write(b"second run\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"first run\nsecond run\n");
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..40 {
            log.write(&chunk);
            assert!(std::fs::metadata(&path).unwrap().len() <= LIMIT);
        }
        log.write(b"last");
        assert!(std::fs::read(&path).unwrap().ends_with(b"xxlast"));
    }

    #[test]
    fn log_on_a_full_disk_does_not_stop_the_machine() {
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let mut log = Log::new(full).unwrap();
        log.write(b"lost");
        assert!(log.broken);
    }
}
