//! A guest's serial console on this process's stdin and stdout.
//!
//! The pump moves bytes between them and a socket until something else happens; what that means
//! is its caller's business. At the start of a line `~.` leaves and `~~` is a `~`, as in ssh.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SendFlags;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::failure::StdoutClosed;

/// Why the pump stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest's side is closed: everything it said has been printed.
    Closed,
    /// `~.` was typed.
    Left,
    /// SIGINT, SIGTERM or SIGHUP came.
    Signal,
    /// The deadline came.
    Deadline,
}

/// Receives SIGINT, SIGTERM and SIGHUP in place of dying of them.
pub struct Signals {
    came: UnixStream,
}

impl Signals {
    /// Takes the signals over, for as long as the process lives.
    ///
    /// # Errors
    /// The system refuses.
    pub fn catch() -> Result<Signals> {
        let (came, tell) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::low_level::pipe::register(signal, tell.try_clone()?)?;
        }
        Ok(Signals { came })
    }

    /// Whether one came since, at once.
    pub fn pending(&self) -> bool {
        let mut fds = [PollFd::new(&self.came, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.came.as_fd()
    }
}

/// Moves bytes between a console and this process's stdin and stdout.
pub struct Pump<'a> {
    console: &'a UnixStream,
    signals: &'a Signals,
    keys: Keys,
    /// Typed, and not taken by the guest yet. Nothing more is read until it is.
    typed: Vec<u8>,
    /// Closed stdin is not looked at any more.
    listening: bool,
}

impl<'a> Pump<'a> {
    /// A pump for this console. Keys `~.` mean something where `escapes` says so.
    pub fn new(console: &'a UnixStream, signals: &'a Signals, escapes: bool) -> Pump<'a> {
        let keys = if escapes { Keys::LineStart } else { Keys::Plain };
        Pump { console, signals, keys, typed: Vec::new(), listening: true }
    }

    /// Pumps until something happens.
    ///
    /// # Errors
    /// stdout or the console is broken.
    pub fn run(&mut self, deadline: Option<Instant>) -> Result<Event> {
        let stdin = io::stdin();
        loop {
            let console =
                if self.typed.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
            let mut fds =
                vec![PollFd::new(self.console, console), PollFd::new(self.signals, PollFlags::IN)];
            if self.listening && self.typed.is_empty() {
                fds.push(PollFd::new(&stdin, PollFlags::IN));
            }
            match rustix::event::poll(&mut fds, remaining(deadline).as_ref()) {
                Ok(0) => return Ok(Event::Deadline),
                Err(Errno::INTR) => continue,
                result => result.context("cannot wait for the console")?,
            };
            let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
            if let Some(event) = self.serve(&ready, stdin.as_fd())? {
                return Ok(event);
            }
        }
    }

    /// Does what can be done without waiting: console, signals, stdin.
    fn serve(&mut self, ready: &[PollFlags], stdin: BorrowedFd<'_>) -> Result<Option<Event>> {
        let ready = |index: usize| ready.get(index).copied().unwrap_or(PollFlags::empty());
        if ready(0).intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) && !self.print()? {
            return Ok(Some(Event::Closed));
        }
        if ready(0).contains(PollFlags::OUT) {
            self.send();
        }
        if !ready(1).is_empty() {
            return Ok(Some(Event::Signal));
        }
        if !ready(2).is_empty() && self.read_keys(stdin)? {
            return Ok(Some(Event::Left));
        }
        Ok(None)
    }

    /// Prints what the guest said; `false` at its end.
    fn print(&mut self) -> Result<bool> {
        let mut buffer = [0; 16 << 10];
        let length = match rustix::io::read(self.console, &mut buffer) {
            Ok(length) => length,
            Err(Errno::INTR) => return Ok(true),
            Err(Errno::CONNRESET) => 0,
            Err(error) => return Err(error).context("cannot read the console"),
        };
        write_all(io::stdout().as_fd(), buffer.get(..length).unwrap_or_default())?;
        Ok(length > 0)
    }

    /// Takes in what was typed; `true` when that was the wish to leave.
    fn read_keys(&mut self, stdin: BorrowedFd<'_>) -> Result<bool> {
        let mut buffer = [0; 4096];
        let length = match rustix::io::read(stdin, &mut buffer) {
            Ok(length) => length,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(false),
            // A terminal that hung up.
            Err(Errno::IO) => 0,
            Err(error) => return Err(error).context("cannot read stdin"),
        };
        self.listening = length > 0;
        for &byte in buffer.get(..length).unwrap_or_default() {
            if self.keys.press(byte, &mut self.typed) {
                return Ok(true);
            }
        }
        self.send();
        Ok(false)
    }

    /// Sends as much of what was typed as the guest takes.
    fn send(&mut self) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(self.console, &self.typed, flags) {
            Ok(sent) => drop(self.typed.drain(..sent)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // The guest ended while somebody typed; the pump sees that next.
            Err(_) => self.typed.clear(),
        }
    }
}

fn remaining(deadline: Option<Instant>) -> Option<Timespec> {
    let left = deadline?.saturating_duration_since(Instant::now());
    // Rounded up: one that wakes early would find nothing and spin.
    Timespec::try_from(left + Duration::from_micros(1)).ok()
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::PIPE) => return Err(StdoutClosed.into()),
            Err(error) => return Err(error).context("cannot write the console's output"),
        }
    }
    Ok(())
}

/// What typed keys mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    /// Nothing but themselves.
    Plain,
    /// A `~` may start something.
    LineStart,
    /// The `~` is held back.
    Tilde,
    /// Somewhere in a line.
    InLine,
}

impl Keys {
    /// Takes a key; appends what goes through, and says whether it asks to leave.
    fn press(&mut self, key: u8, through: &mut Vec<u8>) -> bool {
        match (*self, key) {
            (Keys::LineStart, b'~') => {
                *self = Keys::Tilde;
                return false;
            }
            (Keys::Tilde, b'.') => return true,
            (Keys::Tilde, b'~') => through.push(b'~'),
            (Keys::Tilde, key) => through.extend([b'~', key]),
            (_, key) => through.push(key),
        }
        if *self != Keys::Plain {
            *self = if matches!(key, b'\r' | b'\n') { Keys::LineStart } else { Keys::InLine };
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_in(text: &str) -> (String, bool) {
        let (mut keys, mut through) = (Keys::LineStart, Vec::new());
        let left = text.bytes().any(|key| keys.press(key, &mut through));
        (String::from_utf8(through).expect("ASCII"), left)
    }

    #[test]
    fn escapes_work_at_the_start_of_a_line_only() {
        assert_eq!(type_in("~."), (String::new(), true));
        assert_eq!(type_in("ls\r~."), ("ls\r".into(), true));
        assert_eq!(type_in("a~."), ("a~.".into(), false));
        assert_eq!(type_in("~~."), ("~.".into(), false));
        assert_eq!(type_in("~x~."), ("~x~.".into(), false));
    }
}
