//! The file descriptor that tells a disk's owner to poll.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

#[cfg(test)]
use crate::sync::scheduled::{point, stir, wait_readable};

/// An eventfd: readable from a [`signal`](Wakeup::signal) until the next
/// [`clear`](Wakeup::clear).
#[derive(Debug)]
pub(crate) struct Wakeup(OwnedFd);

impl Wakeup {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Wakeup(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Makes it readable.
    pub(crate) fn signal(&self) {
        // Only a counter about to overflow can refuse, and that one is readable already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        #[cfg(test)]
        stir();
    }

    /// Makes it unreadable until the next signal.
    pub(crate) fn clear(&self) {
        #[cfg(test)]
        point();
        // Refused when there was no signal.
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }

    /// Waits for a signal.
    pub(crate) fn wait(&self) {
        #[cfg(test)]
        if wait_readable(self.as_fd()) {
            return;
        }
        use rustix::event::{PollFd, PollFlags, poll};
        // Whatever ends the wait, the caller looks again.
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None);
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
