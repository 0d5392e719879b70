//! One request queue at work: from the available ring to the disk, and back to the used ring.
//!
//! Each round takes what is available, hands it to the disk as one batch, returns what has
//! finished, and interrupts at most once. A round with nothing to do sleeps until the driver,
//! the disk or the transport stirs. What is in flight is always seen to its end, however
//! serving ended, because the disk holds guest memory until then. A request that found no room on
//! the host is not answered but kept, and tried again by the next server of the same queue.

use blockdev::{Disk, Done, Tag};
use vm_memory::Bytes;

use super::OnFull;
use super::buffers::guest_buffers;
use super::pending::{Next, Pending, Work};
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
    /// Told of requests that find no room; they fail where nobody wants to know.
    on_full: Option<&'a OnFull>,
    /// Requests without an answer, by the head of their chain: the disk has them, or they found
    /// no room and are kept.
    pending: Vec<Option<Pending>>,
    /// Kept for its capacity.
    done: Vec<Done>,
    /// Whether the used ring has something the driver was not told of.
    answered: bool,
}

/// Requests that found no room, by the heads of their chains.
pub(super) type Kept = Vec<(u16, Pending)>;

impl<'a> Server<'a> {
    pub fn new(
        queue: &'a mut Queue,
        disk: Box<dyn Disk>,
        guest: &'a Active,
        terms: Terms,
        on_full: Option<&'a OnFull>,
    ) -> Self {
        let pending = (0..queue.size()).map(|_| None).collect();
        let done = Vec::new();
        Server { queue, disk, guest, terms, on_full, pending, done, answered: false }
    }

    /// Serves until `stop`, or until queue or disk break, which the driver is then told. Begins
    /// with what was `kept`, and returns what is to be kept now.
    pub fn run(mut self, kept: Kept, stop: &Stop) -> Kept {
        let served = self.repeat(kept).and_then(|()| self.serve(stop));
        if let Err(error) = &served {
            self.guest.interrupt.needs_reset(error);
        }
        if let Err(error) = self.drain() {
            self.guest.interrupt.needs_reset(&error);
        }
        (0..).zip(self.pending).filter_map(|(head, pending)| Some((head, pending?))).collect()
    }

    fn repeat(&mut self, kept: Kept) -> Result<()> {
        kept.into_iter().try_for_each(|(head, pending)| self.send(head, pending))
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
        while self.pending.iter().flatten().any(Pending::is_in_flight) {
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
        match request.and_then(|request| self.work(request)) {
            Ok(work) => self.send(head, Pending::new(reply, work, self.terms.write_through)),
            Err(status) => self.answer(head, reply, status),
        }
    }

    /// What a request asks of the disk.
    fn work(&self, request: Request<'_>) -> std::result::Result<Work, Status> {
        let memory = &self.guest.memory;
        let buffers = |span| guest_buffers(memory, span).map(Some).map_err(|_| Status::IoError);
        Ok(match request {
            Request::Read { at, into } => Work::Read { at, into: buffers(&into)? },
            Request::Write { at, from } => Work::Write { at, from: buffers(&from)? },
            Request::Flush => Work::Flush,
            Request::Discard(ranges) => Work::Discard(ranges),
            Request::Zero(ranges) => Work::Zero(ranges),
            Request::Id { into } => {
                into.write(memory, &self.terms.id).map_err(|_| Status::IoError)?;
                Work::Nothing
            }
        })
    }

    /// Hands a request to the disk.
    fn send(&mut self, head: u16, mut pending: Pending) -> Result<()> {
        let next = pending.submit(&mut *self.disk, Tag(head.into()));
        self.pending[usize::from(head)] = Some(pending);
        self.go_on(head, next)
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
        match (&done.result, self.on_full) {
            (Ok(()), _) => {}
            (Err(error), Some(tell)) if pending.is_starved_by(error) => {
                pending.starve();
                tell(error);
            }
            (Err(error), _) => {
                pending.fail();
                self.guest.interrupt.complain("a request failed", error);
            }
        }
        let next = pending.finish_part(done, &mut *self.disk);
        self.go_on(head, next)
    }

    fn go_on(&mut self, head: u16, next: Next) -> Result<()> {
        let slot = &mut self.pending[usize::from(head)];
        match (next, slot.as_ref().map(|pending| pending.reply)) {
            (Next::Answer(status), Some(reply)) => {
                *slot = None;
                self.answer(head, reply, status)
            }
            _ => Ok(()),
        }
    }

    fn answer(&mut self, head: u16, reply: Reply, status: Status) -> Result<()> {
        self.guest.memory.write_obj(status as u8, reply.status)?;
        self.queue.push(head, reply.written(status))?;
        self.answered = true;
        Ok(())
    }
}
