//! Waiting for file descriptors: what to wait for is computed anew each time from what is there,
//! so there is no registration to keep in step with the state.
#![allow(unsafe_code, reason = "vmm-sys-util's eventfd has no AsFd")]

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use vmm_sys_util::eventfd::EventFd;

/// Descriptors to wait for.
#[derive(Default)]
pub struct Watch<'a>(Vec<PollFd<'a>>);

impl<'a> Watch<'a> {
    /// Wakes when `fd` can be read.
    pub fn input(&mut self, fd: BorrowedFd<'a>) {
        self.0.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
    }

    /// Wakes when `fd` can be read, where `input`, or written, where `output`; and always when
    /// its other end is closed.
    pub fn stream(&mut self, fd: &'a impl AsFd, input: bool, output: bool) {
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, input);
        events.set(PollFlags::OUT, output);
        self.0.push(PollFd::new(fd, events));
    }

    /// Waits until something happens, a signal handler runs, or `timeout` has passed.
    pub fn wait(mut self, timeout: Option<&Timespec>) -> io::Result<()> {
        match rustix::event::poll(&mut self.0, timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Whether the other end of `fd` has closed both directions.
pub fn hung_up(fd: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::empty())];
    let polled = rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    polled.is_err() || fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// `event` as a descriptor.
pub fn event(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open for as long as `event` is borrowed.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}
