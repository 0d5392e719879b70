//! The serial console outside the guest: a log, any number of clients, and the way in.
//!
//! ```text
//!   vCPU ──► Port ──► serial chip ──► pipe (64 KiB) ──► log
//!              │                                    ├─► client, client, ...   lose when slow
//!              └─ waits while the pipe is full      └─► attached              holds the guest up
//!
//!   serial chip (FIFO) ◄── input (256 bytes) ◄── clients: read only while there is room
//! ```
//!
//! Everything here but [`Port`] belongs to the event loop's thread and never blocks it.

mod client;
mod log;
mod pipe;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use devices::bus::{BusDevice, Effect};
use devices::serial::Serial;
use rustix::event::Timespec;
use rustix::fd::AsFd;
use vmm_sys_util::eventfd::EventFd;

use crate::poll::{Watch, event};
use client::{Client, Slow};
pub use log::CUT as LOG_CUT;
use log::Log;
pub use pipe::{Pipe, Writer};

/// Typed bytes kept until the guest takes them.
const INPUT_ROOM: usize = 256;
/// What was said last, for whoever comes later: more than a screen.
const RECENT: usize = 8 << 10;
/// Watchers at one time; more wait to be let in.
const MAX_CLIENTS: usize = 16;
/// How long the attached client has, after the machine's end, to take the rest of its output.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The console of one machine.
pub struct Console {
    pipe: Arc<Pipe>,
    log: Option<Log>,
    listener: Option<UnixListener>,
    clients: Vec<Client>,
    serial: Arc<Mutex<Serial>>,
    /// Fires when the chip has room for input.
    input_wanted: EventFd,
    input: VecDeque<u8>,
    recent: VecDeque<u8>,
    /// Reused between reads of the pipe.
    bytes: Vec<u8>,
}

impl Console {
    /// Joins `serial`, whose output goes to `pipe`, to the world. `attached` is a client from the
    /// first byte on, and the guest waits for it.
    pub fn new(
        serial: Arc<Mutex<Serial>>,
        pipe: Arc<Pipe>,
        log: Option<File>,
        listener: Option<UnixListener>,
        attached: Option<UnixStream>,
    ) -> io::Result<Console> {
        if let Some(listener) = &listener {
            listener.set_nonblocking(true)?;
        }
        let clients = attached.map(|stream| Client::new(stream, Slow::HoldsUp)).transpose()?;
        let input_wanted = lock(&serial).input_wanted()?;
        Ok(Console {
            pipe,
            log: log.map(Log::new).transpose()?,
            listener,
            clients: clients.into_iter().collect(),
            serial,
            input_wanted,
            input: VecDeque::new(),
            recent: VecDeque::new(),
            bytes: Vec::new(),
        })
    }

    /// Adds what to wait for.
    pub fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        if !self.held_up() {
            watch.input(self.pipe.as_fd());
        }
        if let Some(listener) = self.listener.as_ref().filter(|_| self.clients.len() < MAX_CLIENTS)
        {
            watch.input(listener.as_fd());
        }
        if !self.input.is_empty() {
            watch.input(event(&self.input_wanted));
        }
        let room = self.input.len() < INPUT_ROOM;
        self.clients.iter().for_each(|client| client.watch(watch, room));
    }

    /// Does whatever can be done without waiting.
    pub fn serve(&mut self) {
        self.accept();
        if !self.held_up() {
            self.pipe.take(&mut self.bytes);
            self.publish();
        }
        let (input, clients) = (&mut self.input, &mut self.clients);
        clients.retain_mut(|client| {
            let room = INPUT_ROOM.saturating_sub(input.len());
            client.send().and_then(|()| client.receive(input, room)).is_ok()
        });
        self.feed();
    }

    /// Tells everyone something that the guest did not say.
    pub fn say(&mut self, line: &str) {
        self.pipe.take(&mut self.bytes);
        self.bytes.extend_from_slice(format!("\r\n[offshoot: {line}]\r\n").as_bytes());
        self.publish();
    }

    /// After the machine's end: brings out what it still said, for a moment at most.
    pub fn finish(mut self) -> io::Result<()> {
        let deadline = Instant::now() + LAST_WORDS;
        self.listener = None;
        self.pipe.take(&mut self.bytes);
        self.publish();
        self.clients.retain_mut(|client| client.send().is_ok());
        self.clients.retain(|client| client.waits_for_more());
        while !self.clients.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                ::log::warn!("the attached terminal did not take all of the console's output");
                break;
            }
            let mut watch = Watch::default();
            self.clients.iter().for_each(|client| client.watch(&mut watch, false));
            watch.wait(Some(&Timespec::try_from(left).expect("two seconds at most")))?;
            self.clients.retain_mut(|client| client.send().is_ok() && client.waits_for_more());
        }
        Ok(())
    }

    fn held_up(&self) -> bool {
        self.clients.iter().any(Client::holds_up)
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        while self.clients.len() < MAX_CLIENTS {
            match listener.accept().and_then(|(stream, _)| Client::new(stream, Slow::Loses)) {
                Ok(mut client) => {
                    client.queue(last_lines(&mut self.recent));
                    self.clients.push(client);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return ::log::warn!("console: cannot let a client in: {error}"),
            }
        }
    }

    /// Hands `bytes` to everyone.
    fn publish(&mut self) {
        if let Some(log) = &mut self.log {
            log.write(&self.bytes);
        }
        self.clients.iter_mut().for_each(|client| client.queue(&self.bytes));
        self.recent.extend(&self.bytes);
        self.recent.drain(..self.recent.len().saturating_sub(RECENT));
    }

    /// Gives the chip what it takes.
    fn feed(&mut self) {
        if self.input.is_empty() {
            return;
        }
        // Fails when the chip said nothing; the event only has to be cleared.
        let _ = self.input_wanted.read();
        let taken = lock(&self.serial).enqueue(self.input.make_contiguous());
        self.input.drain(..taken);
    }
}

/// The serial port as vCPUs see it: a write waits for room in the pipe first.
///
/// It waits outside the chip's own lock, which the event loop takes to hand over input.
pub struct Port {
    /// The chip.
    pub serial: Arc<Mutex<Serial>>,
    /// Where its output goes.
    pub pipe: Arc<Pipe>,
}

impl BusDevice for Port {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        lock(&self.serial).read(offset, data);
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        self.pipe.wait_for_room();
        lock(&self.serial).write(offset, data)
    }
}

/// What was said last, without the rest of a line whose start is gone.
fn last_lines(recent: &mut VecDeque<u8>) -> &[u8] {
    let cut = recent.len() == RECENT;
    let recent = recent.make_contiguous();
    let start = recent.iter().position(|&byte| cut && byte == b'\n').map_or(0, |at| at + 1);
    recent.get(start..).unwrap_or_default()
}

fn lock(serial: &Mutex<Serial>) -> MutexGuard<'_, Serial> {
    serial.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_later_gets_whole_lines_of_what_was_said_last() {
        let mut recent: VecDeque<u8> = b"half a line\nlogin: ".iter().copied().collect();
        assert_eq!(last_lines(&mut recent), b"half a line\nlogin: ", "all there is");
        recent.resize(RECENT, b'x');
        assert!(last_lines(&mut recent).starts_with(b"login: x"));
        recent.drain(..12);
        recent.resize(RECENT, b'x');
        assert_eq!(last_lines(&mut recent).len(), RECENT, "a line that has no end yet");
    }
}
