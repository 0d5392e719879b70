//! Streams that break off at Ctrl-C, even while the other end of a pipe says nothing.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags};

use crate::console::Signals;

/// A file or pipe that is read or written until a signal comes; from then on it fails.
pub struct Guarded<'a> {
    file: File,
    signals: &'a Signals,
}

impl Guarded<'_> {
    /// Guards `file`.
    pub fn new(file: File, signals: &Signals) -> Guarded<'_> {
        Guarded { file, signals }
    }

    /// Waits until the file is ready.
    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.file, flags), PollFd::new(self.signals, PollFlags::IN)];
        rustix::event::poll(&mut fds, None)?;
        match fds[1].revents().is_empty() {
            true => Ok(()),
            false => Err(io::Error::other("interrupted")),
        }
    }
}

impl Read for Guarded<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.wait(PollFlags::IN)?;
        self.file.read(into)
    }
}

impl Write for Guarded<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.wait(PollFlags::OUT)?;
        self.file.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl AsFd for Guarded<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}
