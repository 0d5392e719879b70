//! Requests the disk has: from a request to one operation after the other, to its reply.
//!
//! ```text
//!   READ                Read ──────────────────────► data
//!   WRITE, TRIM         Write, Discard ─┬──────────► done
//!   WRITE_ZEROES        Zero ───────────┤
//!     that takes room   Write, Write .. ┤
//!   with FUA                            └─ Flush ──► done
//!   FLUSH               Flush ─────────────────────► done
//!   BLOCK_STATUS        (at once) ─────────────────► extents
//! ```

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use blockdev::{Buffers, Disk, Done, Op, Stack, Tag};
use slab::Slab;

use super::budget::Pool;
use super::export::Terms;
use super::outbox::{Answer, Outbox};
use super::receiver::{FILL_STEP, Request, length};
use super::reply::Reply;
use super::request::{Command, Errno};
use super::status;
use crate::Served;
use crate::error::chain;

/// Between two lines in the log about failed requests.
const QUIET: Duration = Duration::from_secs(1);

/// A request the disk has.
#[derive(Debug)]
struct Flight {
    cookie: u64,
    cost: usize,
    next: Next,
}

/// What follows when the operation in flight has succeeded.
#[derive(Debug)]
enum Next {
    /// A reply with the bytes read at this place.
    Data(u64),
    /// More zeroes.
    Fill { rest: Range<u64>, durable: bool },
    /// A flush.
    Flush,
    /// A reply.
    Done,
}

impl Next {
    fn after_change(durable: bool) -> Next {
        if durable { Next::Flush } else { Next::Done }
    }
}

/// One connection's requests, and its disk.
pub struct Flights {
    stack: Stack,
    disk: Box<dyn Disk>,
    terms: Terms,
    flights: Slab<Flight>,
    done: Vec<Done>,
    /// Nobody waits for long work any more.
    hurried: bool,
    complained: Option<Instant>,
}

impl Flights {
    /// Nothing in flight yet.
    ///
    /// # Errors
    /// There is no engine for another disk.
    pub fn new(served: &Served, terms: Terms) -> blockdev::Result<Self> {
        Ok(Flights {
            stack: served.stack.clone(),
            disk: served.disk()?,
            terms,
            flights: Slab::new(),
            done: Vec::new(),
            hurried: false,
            complained: None,
        })
    }

    /// Whether the disk has nothing to do.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Readable when [`finish`](Flights::finish) has something to do.
    pub fn wakeup(&self) -> BorrowedFd<'_> {
        self.disk.wakeup()
    }

    /// Gives a request to the disk, or answers it. It goes off with the next
    /// [`finish`](Flights::finish).
    pub fn start(&mut self, request: Request, pool: &mut Pool, out: &mut Outbox) {
        let cost = request.cost();
        let Request { cookie, command, data } = request;
        let reply = match command {
            Err(errno) => Reply::error(cookie, errno, self.terms.structured),
            Ok(Command::Status { range, one }) => self.status(cookie, range, one),
            Ok(command) => {
                if let Some((next, op)) = first(command, data, pool) {
                    let key = self.flights.insert(Flight { cookie, cost, next });
                    self.disk.submit(op, Tag(key as u64));
                }
                return;
            }
        };
        out.push(Answer { reply, cost });
    }

    /// Starts what has been submitted and answers what has been finished. Returns whether more
    /// has been submitted.
    ///
    /// # Errors
    /// The disk is of no further use.
    pub fn finish(&mut self, pool: &mut Pool, out: &mut Outbox) -> blockdev::Result<bool> {
        let mut done = std::mem::take(&mut self.done);
        self.disk.poll(&mut done)?;
        let mut more = false;
        for done in done.drain(..) {
            more |= self.land(done, pool, out);
        }
        self.done = done;
        Ok(more)
    }

    /// The client says nothing more, and may be gone: zeroes that are being written, which may be
    /// gigabytes, end with the piece that is under way.
    pub fn hurry(&mut self) {
        self.hurried = true;
    }

    /// Whether it was told to [`hurry`](Flights::hurry).
    pub fn is_hurried(&self) -> bool {
        self.hurried
    }

    /// One operation has ended: whether it has been followed by another.
    fn land(&mut self, done: Done, pool: &mut Pool, out: &mut Outbox) -> bool {
        let Done { tag, result, buffers } = done;
        let key = usize::try_from(tag.0).expect("tags are keys");
        let flight = self.flights.get_mut(key).expect("the disk returns what it was given, once");
        let next = std::mem::replace(&mut flight.next, Next::Done);
        let (cookie, cost) = (flight.cookie, flight.cost);
        let structured = self.terms.structured;
        let (reply, unused) = match (result, next, buffers) {
            (Err(error), _, buffers) => {
                self.complain(&error);
                (Reply::error(cookie, Errno::from(&error), structured), buffers)
            }
            (Ok(()), Next::Data(at), Some(data)) => {
                (Reply::data(cookie, at, data, structured), None)
            }
            (Ok(()), Next::Fill { .. }, zeroes) if self.hurried => {
                (Reply::error(cookie, Errno::ShuttingDown, structured), zeroes)
            }
            (Ok(()), Next::Fill { rest, durable }, Some(zeroes)) => {
                let (next, op) = fill(rest, durable, zeroes);
                return self.follow(key, next, op);
            }
            (Ok(()), Next::Flush, buffers) => {
                buffers.into_iter().for_each(|buffers| pool.give_back(buffers));
                return self.follow(key, Next::Done, Op::Flush);
            }
            (Ok(()), Next::Done | Next::Data(_) | Next::Fill { .. }, buffers) => {
                (Reply::done(cookie), buffers)
            }
        };
        unused.into_iter().for_each(|buffers| pool.give_back(buffers));
        self.flights.remove(key);
        out.push(Answer { reply, cost });
        false
    }

    fn follow(&mut self, key: usize, next: Next, op: Op) -> bool {
        if let Some(flight) = self.flights.get_mut(key) {
            flight.next = next;
        }
        self.disk.submit(op, Tag(key as u64));
        true
    }

    fn status(&mut self, cookie: u64, range: Range<u64>, one: bool) -> Reply {
        match status::extents(&self.stack, range, one) {
            Ok(extents) => Reply::status(cookie, &extents),
            Err(error) => {
                self.complain(&error);
                Reply::error(cookie, Errno::from(&error), self.terms.structured)
            }
        }
    }

    /// The client learns a number; whoever runs the server, the reason.
    fn complain(&mut self, error: &blockdev::Error) {
        if self.complained.is_some_and(|last| last.elapsed() < QUIET) {
            return;
        }
        self.complained = Some(Instant::now());
        log::warn!("a client's request failed: {}", chain(error));
    }
}

/// The first operation of a command, and what follows; none where the disk has nothing to do.
fn first(command: Command, data: Option<Buffers>, pool: &mut Pool) -> Option<(Next, Op)> {
    Some(match command {
        Command::Read(range) => {
            let into = pool.take(length(&range));
            (Next::Data(range.start), Op::Read { at: range.start, into })
        }
        Command::Write { range, durable } => {
            (Next::after_change(durable), Op::Write { at: range.start, from: data? })
        }
        Command::Flush => (Next::Done, Op::Flush),
        Command::Trim { range, durable } => (Next::after_change(durable), Op::Discard(range)),
        Command::Zero { range, durable, hole: true } => {
            (Next::after_change(durable), Op::Zero(range))
        }
        Command::Zero { range, durable, hole: false } => {
            let zeroes = pool.take(length(&range).min(FILL_STEP));
            zeroes.fill_zero(0..zeroes.len());
            fill(range, durable, zeroes)
        }
        Command::Status { .. } | Command::Disconnect => return None,
    })
}

/// The first write of zeroes to `range`, as long as `zeroes`, and what follows.
fn fill(range: Range<u64>, durable: bool, zeroes: Buffers) -> (Next, Op) {
    let len = zeroes.len().min(length(&range));
    let from = if len == zeroes.len() { zeroes } else { Buffers::from_vec(vec![0; len]) };
    let end = range.start + len as u64;
    let next = match end < range.end {
        true => Next::Fill { rest: end..range.end, durable },
        false => Next::after_change(durable),
    };
    (next, Op::Write { at: range.start, from })
}
