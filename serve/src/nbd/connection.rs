//! One client, in a thread of its own: negotiation, then requests until it leaves.
//!
//! Each round takes what has arrived, hands it to the disk as one batch, and sends all replies
//! there are in one call. Several requests are in flight; a round with nothing to do sleeps until
//! the client or the disk stirs. With nothing in flight it sleeps in `recvmsg`.
//!
//! Shutting the receiving side of the socket down, as the server does to end, looks like a client
//! that says nothing more: what was asked for is done and answered.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno as SystemErrno;

use super::budget::{Budget, Pool};
use super::export::{Export, Terms};
use super::flights::Flights;
use super::handshake::{Handshake, LONGEST_MESSAGE, Progress};
use super::outbox::Outbox;
use super::receiver::Receiver;
use super::request::Command;
use crate::wire::{self, Patience};
use crate::{Error, Result, Served};

/// How long a client may be silent while it negotiates.
const NEGOTIATION: Duration = Duration::from_secs(10);
/// Where the next step is known already.
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Serves one client to its end.
///
/// # Errors
/// It broke the protocol or went away in the middle, or the disk failed.
pub fn serve(socket: &UnixStream, served: &Served, export: &Export) -> Result<()> {
    match negotiate(socket, export)? {
        None => Ok(()),
        Some((terms, left_over)) => {
            let flights = Flights::new(served, terms).map_err(Error::Disk)?;
            Transmission {
                socket,
                export,
                terms,
                flights,
                receiver: Receiver::new(&left_over),
                outbox: Outbox::default(),
                budget: Budget::default(),
                pool: Pool::default(),
                leaving: false,
            }
            .run()
        }
    }
}

/// Comes to terms with a client, and returns what it has said beyond; nothing when it left.
fn negotiate(mut socket: &UnixStream, export: &Export) -> Result<Option<(Terms, Vec<u8>)>> {
    socket.set_read_timeout(Some(NEGOTIATION)).map_err(Error::Connection)?;
    socket.set_write_timeout(Some(NEGOTIATION)).map_err(Error::Connection)?;
    let mut handshake = Handshake::new(export);
    let (mut input, mut output) = (Vec::new(), Vec::new());
    Handshake::greeting(&mut output);
    loop {
        socket.write_all(&output).map_err(Error::Connection)?;
        output.clear();
        let Some((used, progress)) = handshake.advance(&input, &mut output)? else {
            if !receive_more(socket, &mut input)? {
                return Ok(None);
            }
            continue;
        };
        input.drain(..used);
        if progress != Progress::More {
            // A client that aborts may not wait for the answer.
            let sent = socket.write_all(&output);
            let Progress::Transmit(terms) = progress else { return Ok(None) };
            sent.map_err(Error::Connection)?;
            socket.set_read_timeout(None).map_err(Error::Connection)?;
            return Ok(Some((terms, input)));
        }
    }
}

/// Waits for the client to say something; false when it leaves instead.
fn receive_more(mut socket: &UnixStream, input: &mut Vec<u8>) -> Result<bool> {
    let start = input.len();
    input.resize(LONGEST_MESSAGE.max(start + 1), 0);
    let count = loop {
        match socket.read(&mut input[start..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result.map_err(Error::Connection)?,
        }
    };
    input.truncate(start + count);
    Ok(count > 0)
}

/// A client whose requests are served.
struct Transmission<'a> {
    socket: &'a UnixStream,
    export: &'a Export,
    terms: Terms,
    flights: Flights,
    receiver: Receiver,
    outbox: Outbox,
    budget: Budget,
    pool: Pool,
    /// The client says nothing more.
    leaving: bool,
}

impl Transmission<'_> {
    fn run(mut self) -> Result<()> {
        loop {
            self.take_requests()?;
            let more = self.flights.finish(&mut self.pool, &mut self.outbox);
            let more = more.map_err(Error::Disk)?;
            self.send()?;
            if self.leaving && self.is_idle() && !self.receiver.is_held_up() {
                return Ok(());
            }
            self.wait(if more { Some(&AT_ONCE) } else { None })?;
        }
    }

    /// Submits all requests that are whole, as far as there is room for them.
    fn take_requests(&mut self) -> Result<()> {
        let Self { receiver, budget, pool, .. } = self;
        while let Some(request) = receiver.next(self.export, self.terms, budget, pool)? {
            if request.command == Ok(Command::Disconnect) {
                self.leaving = true;
                // It must not say anything more; if it did, it is not heard.
                *receiver = Receiver::new(&[]);
                return Ok(());
            }
            budget.take(request.cost());
            self.flights.start(request, pool, &mut self.outbox);
        }
        Ok(())
    }

    /// Sends what the client takes without waiting.
    fn send(&mut self) -> Result<()> {
        while !self.outbox.is_empty() {
            match wire::send(self.socket, &self.outbox.pieces(), Patience::Now) {
                Ok(count) => {
                    for answer in self.outbox.sent(count) {
                        self.budget.give_back(answer.cost);
                        answer.reply.data.into_iter().for_each(|data| self.pool.give_back(data));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(Error::Connection(error)),
            }
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.outbox.is_empty()
    }

    /// Waits until there is something to do, and takes in what has arrived.
    fn wait(&mut self, timeout: Option<&Timespec>) -> Result<()> {
        let listens = !self.leaving && !self.receiver.is_held_up();
        if self.is_idle() {
            // What is held up has room now.
            return if listens { self.receive(Patience::Wait) } else { Ok(()) };
        }
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, listens);
        events.set(PollFlags::OUT, !self.outbox.is_empty());
        events.set(PollFlags::RDHUP, !self.flights.is_hurried());
        let mut fds = Vec::with_capacity(2);
        let wakeup = self.flights.wakeup();
        if !events.is_empty() {
            fds.push(PollFd::new(self.socket, events));
        }
        if !self.flights.is_empty() {
            fds.push(PollFd::from_borrowed_fd(wakeup, PollFlags::IN));
        }
        match poll(&mut fds, timeout) {
            Ok(_) | Err(SystemErrno::INTR) => {}
            Err(error) => return Err(Error::Connection(error.into())),
        }
        let found = match fds.first() {
            Some(fd) if !events.is_empty() => fd.revents(),
            _ => PollFlags::empty(),
        };
        if found.intersects(PollFlags::RDHUP | PollFlags::HUP) {
            self.flights.hurry();
        }
        let heard = found.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
        if listens && heard { self.receive(Patience::Now) } else { Ok(()) }
    }

    fn receive(&mut self, patience: Patience) -> Result<()> {
        let received = {
            let room: Vec<_> = self.receiver.room().collect();
            wire::receive(self.socket, &room, patience)
        };
        match received {
            Ok(0) => self.leaving = true,
            Ok(count) => self.receiver.received(count),
            Err(error) if again(&error) => {}
            Err(error) => return Err(Error::Connection(error)),
        }
        Ok(())
    }
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}
