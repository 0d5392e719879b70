//! One request queue at work: from the available ring to the disk, and back to the used ring.
//!
//! Each round takes what is available, hands it to the disk as one batch, returns what has
//! finished, and interrupts at most once. A round with nothing to do sleeps until the driver,
//! the disk or the transport stirs. What is in flight is always seen to its end, however
//! serving ended, because the disk holds guest memory until then.

use std::ops::Range;

use blockdev::{Disk, Done, Op, Tag};
use vm_memory::Bytes;

use super::buffers::guest_buffers;
use super::request::{self, Reply, Request, Status, Terms};
use crate::virtio::chain::Chain;
use crate::virtio::queue::Queue;
use crate::virtio::worker::{Sleeper, Stop};
use crate::virtio::{Active, Error, Result};

/// A queue, its disk, and what is between them.
pub(super) struct Server<'a> {
    queue: &'a mut Queue,
    disk: Box<dyn Disk>,
    guest: &'a Active,
    terms: Terms,
    /// Requests the disk has, by the head of their chain.
    pending: Vec<Option<Pending>>,
    /// Kept for its capacity.
    done: Vec<Done>,
    /// Whether the used ring has something the driver was not told of.
    answered: bool,
}

/// A request the disk has.
struct Pending {
    reply: Reply,
    /// Operations not finished yet.
    parts: usize,
    status: Status,
    /// Whether to flush when the parts are done.
    flush: bool,
}

impl<'a> Server<'a> {
    pub fn new(queue: &'a mut Queue, disk: Box<dyn Disk>, guest: &'a Active, terms: Terms) -> Self {
        let pending = (0..queue.size()).map(|_| None).collect();
        Server { queue, disk, guest, terms, pending, done: Vec::new(), answered: false }
    }

    /// Serves until `stop`, or until queue or disk break, which the driver is then told.
    pub fn run(mut self, stop: &Stop) {
        let served = self.serve(stop);
        if let Err(error) = &served {
            self.guest.interrupt.needs_reset(error);
        }
        if let Err(error) = self.drain() {
            self.guest.interrupt.needs_reset(&error);
        }
    }

    fn serve(&mut self, stop: &Stop) -> Result<()> {
        let sleeper = Sleeper::new()?;
        sleeper.add(stop.event())?;
        sleeper.add(self.queue.kick())?;
        sleeper.add(&self.disk.wakeup())?;
        self.queue.disable_kicks()?;
        while !stop.is_requested() {
            let taken = self.take()?;
            let finished = self.finish()?;
            if taken || finished {
                continue;
            }
            if !self.queue.enable_kicks()? {
                sleeper.sleep()?;
            }
            self.queue.disable_kicks()?;
        }
        Ok(())
    }

    /// Sees everything in flight to its end.
    fn drain(&mut self) -> Result<()> {
        let sleeper = Sleeper::new()?;
        sleeper.add(&self.disk.wakeup())?;
        while self.pending.iter().any(Option::is_some) {
            if !self.finish()? {
                sleeper.sleep()?;
            }
        }
        Ok(())
    }

    /// Starts what is available, at most a queue full; returns whether there was anything.
    fn take(&mut self) -> Result<bool> {
        for taken in 0..self.queue.size() {
            let Some(chain) = self.queue.pop()? else { return Ok(taken > 0) };
            self.start(&chain)?;
        }
        Ok(true)
    }

    fn start(&mut self, chain: &Chain) -> Result<()> {
        let head = chain.head();
        let broken = |why| Error::Chain { queue: self.queue.index(), head, why };
        let slot = self.pending.get_mut(usize::from(head));
        if !matches!(slot, Some(None)) {
            return Err(broken("it is in flight already"));
        }
        let Some((reply, request)) = request::parse(chain, &self.guest.memory, &self.terms) else {
            return Err(broken("it has no room for a status"));
        };
        match request.and_then(|request| self.submit(head, request)) {
            Ok(Submitted { parts: 0, .. }) => self.answer(head, reply, Status::Ok),
            Ok(Submitted { parts, modifies }) => {
                let flush = modifies && self.terms.write_through;
                let pending = Pending { reply, parts, status: Status::Ok, flush };
                self.pending[usize::from(head)] = Some(pending);
                Ok(())
            }
            Err(status) => self.answer(head, reply, status),
        }
    }

    /// Hands a request to the disk.
    fn submit(
        &mut self,
        head: u16,
        request: Request<'_>,
    ) -> std::result::Result<Submitted, Status> {
        let memory = &self.guest.memory;
        let op = match request {
            Request::Read { at, into } => {
                Op::Read { at, into: guest_buffers(memory, &into).map_err(|_| Status::IoError)? }
            }
            Request::Write { at, from } => {
                Op::Write { at, from: guest_buffers(memory, &from).map_err(|_| Status::IoError)? }
            }
            Request::Flush => Op::Flush,
            Request::Discard(ranges) => return Ok(self.submit_ranges(head, ranges, Op::Discard)),
            Request::Zero(ranges) => return Ok(self.submit_ranges(head, ranges, Op::Zero)),
            Request::Id { into } => {
                into.write(memory, &self.terms.id).map_err(|_| Status::IoError)?;
                return Ok(Submitted { parts: 0, modifies: false });
            }
        };
        let modifies = matches!(op, Op::Write { .. });
        self.disk.submit(op, Tag(head.into()));
        Ok(Submitted { parts: 1, modifies })
    }

    fn submit_ranges(
        &mut self,
        head: u16,
        ranges: Vec<Range<u64>>,
        op: fn(Range<u64>) -> Op,
    ) -> Submitted {
        let parts = ranges.len();
        for range in ranges {
            self.disk.submit(op(range), Tag(head.into()));
        }
        Submitted { parts, modifies: true }
    }

    /// Takes in what the disk has finished; returns whether there was anything. One interrupt is
    /// raised for all that was answered since the last, if the driver wants one.
    fn finish(&mut self) -> Result<bool> {
        let mut done = std::mem::take(&mut self.done);
        self.disk.poll(&mut done).map_err(|error| Error::Disk(error.into()))?;
        let any = !done.is_empty();
        // All of them, whatever comes of one: who waits for the others would wait for ever.
        let mut outcome = Ok(());
        for done in done.drain(..) {
            outcome = outcome.and(self.finish_part(done));
        }
        self.done = done;
        outcome?;
        if std::mem::take(&mut self.answered) && self.queue.wants_interrupt()? {
            self.guest.interrupt.used_buffers();
        }
        Ok(any)
    }

    fn finish_part(&mut self, done: Done) -> Result<()> {
        let head = u16::try_from(done.tag.0).expect("tags are heads of chains");
        let slot = &mut self.pending[usize::from(head)];
        let pending = slot.as_mut().expect("the disk returns what it was given, once");
        if let Err(error) = done.result {
            pending.status = Status::IoError;
            self.guest.interrupt.complain("a request failed", &error);
        }
        pending.parts -= 1;
        if pending.parts > 0 {
            return Ok(());
        }
        if pending.flush && pending.status == Status::Ok {
            pending.parts = 1;
            pending.flush = false;
            self.disk.submit(Op::Flush, done.tag);
            return Ok(());
        }
        let (reply, status) = (pending.reply, pending.status);
        *slot = None;
        self.answer(head, reply, status)
    }

    fn answer(&mut self, head: u16, reply: Reply, status: Status) -> Result<()> {
        self.guest.memory.write_obj(status as u8, reply.status)?;
        self.queue.push(head, reply.written(status))?;
        self.answered = true;
        Ok(())
    }
}

/// What the disk was given of a request.
struct Submitted {
    parts: usize,
    /// Whether the disk's contents change.
    modifies: bool,
}
