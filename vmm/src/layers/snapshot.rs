//! Freezing a disk's top layer in a thread of its own: making durable what a guest wrote takes as
//! long as the host's disk does, and nobody else is to wait for that.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use blockdev::Stack;

use crate::error::{Error, Result};
use crate::poll::hung_up;

/// A snapshot under way.
#[derive(Debug)]
pub(crate) struct Snapshot {
    letter: char,
    thread: JoinHandle<blockdev::Result<Duration>>,
    /// The thread has the other end, and closes it when it is done.
    done: PipeReader,
}

impl Snapshot {
    /// Begins to freeze the top layer of the disk `letter`, which goes on with the one in `delta`.
    ///
    /// # Errors
    /// The host has no thread for it.
    pub fn begin(letter: char, stack: &Stack, delta: PathBuf) -> Result<Snapshot> {
        let (done, working) = io::pipe().map_err(Error::host("create a pipe"))?;
        let stack = stack.clone();
        let freeze = move || {
            let _working = working;
            stack.snapshot(&delta)
        };
        let thread = thread::Builder::new().name("snapshot".into()).spawn(freeze);
        let thread = thread.map_err(Error::host("start a thread for the snapshot"))?;
        Ok(Snapshot { letter, thread, done })
    }

    /// Whether its end need not be waited for.
    pub fn is_done(&self) -> bool {
        hung_up(&self.done)
    }

    /// Waits for its end, and says how long writes and flushes waited.
    ///
    /// # Errors
    /// As [`Stack::snapshot`].
    pub fn end(self) -> Result<Duration> {
        let letter = self.letter;
        match self.thread.join() {
            Ok(result) => result.map_err(|source| Error::Disk { letter, source }),
            Err(_) => Err(Error::host("freeze a layer")(io::Error::other("its thread panicked"))),
        }
    }
}

impl AsFd for Snapshot {
    /// Readable when it is done.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }
}
