//! Signals to the monitor, as something the event loop reads.
#![allow(unsafe_code, reason = "no crate here wraps signalfd")]

use std::fs::File;
use std::io::{self, Read};
use std::ptr;

use rustix::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use vmm_sys_util::signal::create_sigset;

/// Blocks signals in this thread and those it starts, and collects them instead.
#[derive(Debug)]
pub struct Signals(File);

impl Signals {
    /// Collects `signals` from now on.
    pub fn collect(signals: &[libc::c_int]) -> io::Result<Signals> {
        let set = create_sigset(signals)?;
        // SAFETY: `set` is a valid set, and nobody wants the old one.
        let blocked =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
        if blocked != 0 {
            return Err(io::Error::from_raw_os_error(blocked));
        }
        let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
        // SAFETY: -1 asks for a new descriptor; `set` is a valid set.
        let fd = unsafe { libc::signalfd(-1, &raw const set, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made it, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Signals(fd.into()))
    }

    /// Whether any has arrived since the last call.
    pub fn arrived(&mut self) -> bool {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        let mut any = false;
        while self.0.read_exact(&mut info).is_ok() {
            any = true;
        }
        any
    }
}

/// Readable when a signal has arrived.
impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread;
    use vmm_sys_util::signal::Killable;

    #[test]
    fn signal_is_collected_instead_of_ending_the_process() {
        let (ready, is_ready) = channel();
        let (sent, is_sent) = channel();
        let collector = thread::spawn(move || {
            let mut signals = Signals::collect(&[libc::SIGUSR2]).unwrap();
            let before = signals.arrived();
            ready.send(()).unwrap();
            is_sent.recv().unwrap();
            (before, signals.arrived(), signals.arrived())
        });
        is_ready.recv().unwrap();
        collector.kill(libc::SIGUSR2).unwrap();
        sent.send(()).unwrap();
        assert_eq!(collector.join().unwrap(), (false, true, false));
    }
}
