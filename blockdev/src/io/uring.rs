//! The io_uring engine: reads, and writes that need no copy-up, go to the kernel in batches.
//!
//! ```text
//!   Op ──► Flight (its buffers, its permit) ──► Transfers, one for each place ──► SQEs
//!                 ▲                                       │
//!                 └─────────── completed one by one ◄─────┘   short ones go round again
//! ```
//!
//! Everything else goes to the [`Worker`]. Buffers stay in their flight until the kernel has
//! answered for all of it; dropping the disk waits for that.
#![allow(unsafe_code, reason = "pushing an entry promises that its memory stays valid")]

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use io_uring::{IoUring, opcode, squeue, types};
use slab::Slab;

use super::again;
use super::quick::Quick;
use super::wakeup::Wakeup;
use super::worker::{Inbox, Job, Worker};
use crate::buffers::{Buffers, Iovecs};
use crate::delta::Permit;
use crate::io::Storage;
use crate::layers::{LayerIndex, Layers, Place};
use crate::stack::current::View;
use crate::{Disk, Done, Error, Op, Result, Tag};

/// Submission entries; as many are with the kernel at most, so completions always have room.
const ENTRIES: u32 = 128;
/// Of a write that others may wait for, in bytes.
const SMALL: usize = 64 << 10;
/// More than the kernel moves in one call, whatever is asked.
const LARGEST: usize = 1 << 30;

/// An operation whose bytes are moving.
struct Flight {
    tag: Tag,
    buffers: Buffers,
    /// Of a write: leave to do it, and where on the disk.
    write: Option<(Permit, Range<u64>)>,
    /// Transfers not finished.
    left: usize,
    error: Option<Error>,
}

/// A part of a flight that lies in one piece in one layer.
struct Transfer {
    flight: usize,
    layer: LayerIndex,
    /// Where in the layer's file the rest begins.
    offset: u64,
    /// What of the flight's buffers is still to be moved.
    rest: Range<usize>,
    /// What the kernel has been told; it may look until it answers.
    iovecs: Iovecs,
}

/// A disk on a ring of its own.
pub(crate) struct UringDisk {
    /// The ring has the files of these; they change when no transfer is under way.
    layers: View,
    worker: Option<Arc<Worker>>,
    ring: IoUring,
    wakeup: Arc<Wakeup>,
    inbox: Arc<Inbox>,
    flights: Slab<Flight>,
    transfers: Slab<Transfer>,
    /// Transfers waiting for room in the ring.
    queued: VecDeque<usize>,
    /// Transfers the kernel has.
    running: usize,
    /// Operations waiting for somebody else's range lock, oldest first.
    parked: VecDeque<(Op, Tag)>,
    done: Vec<Done>,
    /// Kept for its capacity.
    answers: Vec<(u64, i32)>,
    /// Of writes, and of a single job for the worker.
    quick_writes: Quick,
    quick_jobs: Quick,
    /// Why the ring can be used no more.
    broken: Option<io::Error>,
}

/// A ring that knows the layers' files by their index.
pub(crate) struct Ring {
    ring: IoUring,
    wakeup: Arc<Wakeup>,
}

impl Ring {
    /// # Errors
    /// What io_uring said; the caller may have another engine.
    pub(crate) fn new(layers: &Layers) -> io::Result<Self> {
        let ring = IoUring::new(ENTRIES)?;
        let wakeup = Arc::new(Wakeup::new()?);
        ring.submitter().register_files(&files(layers)?)?;
        ring.submitter().register_eventfd(wakeup.as_fd().as_raw_fd())?;
        Ok(Ring { ring, wakeup })
    }
}

/// The files of `layers` by their index; the kernel takes -1 for none.
fn files(layers: &Layers) -> io::Result<Vec<RawFd>> {
    let fd = |storage: Option<&dyn Storage>| match storage.map(Storage::fd) {
        None => Ok(-1),
        Some(Some(fd)) => Ok(fd.as_raw_fd()),
        Some(None) => Err(io::ErrorKind::Unsupported.into()),
    };
    layers.storages().map(fd).collect()
}

impl UringDisk {
    /// A disk on `layers`; `worker` is needed where they can be written.
    pub(crate) fn new(layers: View, worker: Option<Arc<Worker>>, ring: Ring) -> Self {
        let Ring { ring, wakeup } = ring;
        layers.watch(&wakeup);
        UringDisk {
            layers,
            worker,
            ring,
            inbox: Inbox::new(Arc::clone(&wakeup)),
            wakeup,
            flights: Slab::new(),
            transfers: Slab::new(),
            queued: VecDeque::new(),
            running: 0,
            parked: VecDeque::new(),
            done: Vec::new(),
            answers: Vec::new(),
            quick_writes: Quick::default(),
            quick_jobs: Quick::default(),
            broken: None,
        }
    }

    /// Goes on to the stack's newest layers, if it can now.
    fn refresh(&mut self) -> bool {
        if !self.layers.is_stale() {
            return true;
        }
        if !self.transfers.is_empty() {
            return false;
        }
        self.layers.refresh();
        let submitter = self.ring.submitter();
        let files = files(&self.layers).and_then(|files| {
            submitter.unregister_files()?;
            submitter.register_files(&files)
        });
        self.broken = files.err();
        self.broken.is_none()
    }

    /// Sends `op` on its way, or gives it back where it has to wait.
    fn start(&mut self, op: Op, tag: Tag) -> Option<Op> {
        if !self.refresh() {
            return Some(op);
        }
        let Some(range) = op.written() else {
            match op {
                Op::Read { at, into } => self.start_read(at, into, tag),
                op => self.give(op, tag, None),
            }
            return None;
        };
        let permit = match self.layers.permit(&range, &self.wakeup) {
            Ok(Some(permit)) => permit,
            Ok(None) => return Some(op),
            Err(error) => {
                self.finish(op, tag, Err(error));
                return None;
            }
        };
        match op {
            Op::Write { from, .. } if !self.layers.must_copy_up(&range) => {
                self.start_write(range, from, permit, tag);
            }
            op => self.give(op, tag, Some(permit)),
        }
        None
    }

    fn start_read(&mut self, at: u64, into: Buffers, tag: Tag) {
        let end = at + into.len() as u64;
        let flight = self.flights.vacant_key();
        let (mut done, mut left) = (0, 0);
        while done < into.len() {
            let (place, count) = self.layers.lookup(at + done as u64..end);
            let count = usize::try_from(count).expect("no longer than the buffers");
            let rest = done..done + count;
            match place {
                Place::Zero => into.fill_zero(rest),
                Place::Data { layer, offset } => {
                    self.queue(Transfer { flight, layer, offset, rest, iovecs: Iovecs::default() });
                    left += 1;
                }
            }
            done += count;
        }
        if left == 0 {
            return self.finish(Op::Read { at, into }, tag, Ok(()));
        }
        self.flights.insert(Flight { tag, buffers: into, write: None, left, error: None });
    }

    /// The data area is identity-mapped, so a write has one place however long it is.
    fn start_write(&mut self, range: Range<u64>, from: Buffers, permit: Permit, tag: Tag) {
        let (layer, offset) = self.layers.write_place(range.start);
        let rest = 0..from.len();
        let write = Some((permit, range));
        let flight = Flight { tag, buffers: from, write, left: 1, error: None };
        let flight = self.flights.insert(flight);
        self.queue(Transfer { flight, layer, offset, rest, iovecs: Iovecs::default() });
    }

    /// Has the worker do `op`; or does it here, where nothing else is under way.
    fn give(&mut self, op: Op, tag: Tag, permit: Option<Permit>) {
        if self.in_flight() == 0 && self.quick_jobs.expected() {
            let result = self.quick_jobs.time(|| self.layers.perform(&op, permit));
            return self.finish(op, tag, result);
        }
        match &self.worker {
            Some(worker) => {
                let (layers, inbox) = (Arc::clone(self.layers.layers()), Arc::clone(&self.inbox));
                worker.give(Job { op, tag, permit, layers, inbox });
            }
            // Nothing can have been written.
            None => self.finish(op, tag, Ok(())),
        }
    }

    fn finish(&mut self, op: Op, tag: Tag, result: Result<()>) {
        self.done.push(Done { tag, result, buffers: op.into_buffers() });
    }

    fn queue(&mut self, transfer: Transfer) {
        let key = self.transfers.insert(transfer);
        self.queued.push_back(key);
    }

    /// Moves without the ring what should need no waiting: the only transfer there is, which saves
    /// two system calls, and small writes, which the kernel would hand to a thread on filesystems
    /// that do not promise to write without waiting (ext4).
    fn move_at_once(&mut self) {
        let lone = self.running == 0 && self.queued.len() == 1;
        for _ in 0..self.queued.len() {
            let Some(key) = self.queued.pop_front() else { return };
            match self.moved_at_once(key, lone) {
                Some(moved) => self.complete(key, moved),
                None => self.queued.push_back(key),
            }
        }
    }

    /// What came of moving transfer `key` here and now, where that was tried.
    fn moved_at_once(&mut self, key: usize, lone: bool) -> Option<io::Result<usize>> {
        let transfer = &self.transfers[key];
        let Flight { buffers, write, .. } = &self.flights[transfer.flight];
        let storage = self.layers.storage(transfer.layer);
        let (rest, at) = (transfer.rest.clone(), transfer.offset);
        match write {
            // Whatever is wrong, the ring will tell; also where it seems to be the file's end, which
            // Linux 5.9 and 5.10 say of what is not in memory.
            None if lone => {
                let read = storage.read_now(&buffers.target(rest), at).ok();
                read.filter(|&count| count > 0).map(Ok)
            }
            Some(_) if (lone || rest.len() <= SMALL) && self.quick_writes.expected() => {
                let write = || storage.write_at(&buffers.source(rest), at);
                Some(self.quick_writes.time(write))
            }
            _ => None,
        }
    }

    /// Fills the ring from the queue.
    fn fill(&mut self) {
        while self.running < ENTRIES as usize {
            let Some(key) = self.queued.pop_front() else { return };
            let transfer = &mut self.transfers[key];
            let flight = &self.flights[transfer.flight];
            let entry = transfer.entry(flight).user_data(key as u64);
            // SAFETY: the entry points to what many `transfer.iovecs` are in on the heap, and to the
            // memory they name, which `flight.buffers` keeps mapped. Both stay in their slabs until `complete` has seen
            // this entry's answer; `drop` waits for that or leaks them.
            let pushed = unsafe { self.ring.submission().push(&entry) };
            if pushed.is_err() {
                self.queued.push_front(key);
                return;
            }
            self.running += 1;
        }
    }

    /// Passes queued transfers to the kernel and takes answers until neither is left to do now.
    fn pump(&mut self) -> io::Result<()> {
        loop {
            self.fill();
            if !self.ring.submission().is_empty() {
                match self.ring.submit() {
                    Err(error) if !busy(&error) => return Err(error),
                    _ => {}
                }
            }
            let mut answers = std::mem::take(&mut self.answers);
            answers.extend(self.ring.completion().map(|entry| (entry.user_data(), entry.result())));
            if answers.is_empty() {
                self.answers = answers;
                if !self.ring.submission().is_empty() {
                    // The kernel had no room for them; there may be no answer to wait for.
                    self.wakeup.signal();
                }
                return Ok(());
            }
            for (key, result) in answers.drain(..) {
                self.running -= 1;
                let moved = usize::try_from(result);
                let moved = moved.map_err(|_| io::Error::from_raw_os_error(-result));
                self.complete(usize::try_from(key).expect("we chose it"), moved);
            }
            self.answers = answers;
        }
    }

    fn complete(&mut self, key: usize, moved: io::Result<usize>) {
        let transfer = &mut self.transfers[key];
        let failed = match moved {
            Ok(0) if self.flights[transfer.flight].write.is_some() => {
                Some(io::ErrorKind::WriteZero.into())
            }
            Ok(0) => Some(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                transfer.rest.start += count;
                transfer.offset += count as u64;
                None
            }
            Err(error) => Some(error).filter(|error| !again(error)),
        };
        if failed.is_none() && !transfer.rest.is_empty() {
            self.queued.push_back(key);
            return;
        }
        let transfer = self.transfers.remove(key);
        let flight = &mut self.flights[transfer.flight];
        if let Some(error) = failed {
            let written = flight.write.is_some();
            let error =
                self.layers.transfer_failed(transfer.layer, transfer.offset, written, error);
            flight.error.get_or_insert(error);
        }
        flight.left -= 1;
        if flight.left == 0 {
            let flight = self.flights.remove(transfer.flight);
            self.land(flight);
        }
    }

    fn land(&mut self, flight: Flight) {
        let Flight { tag, buffers, write, error, .. } = flight;
        if let (Some((permit, range)), None) = (write, &error) {
            self.layers.written(&range, permit);
        }
        let result = error.map_or(Ok(()), Err);
        self.done.push(Done { tag, result, buffers: Some(buffers) });
    }

    /// Looks what has happened, and does what can be done now.
    fn look(&mut self) -> Result<()> {
        self.wakeup.clear();
        self.inbox.take(&mut self.done);
        self.refresh();
        loop {
            self.retry_parked();
            let pumped = self.broken.take().map_or(Ok(()), Err).and_then(|()| self.pump());
            pumped.map_err(|source| Error::Engine { what: "io_uring", source })?;
            // What waited for the last transfer to end can be started now.
            if self.parked.is_empty() || !self.layers.is_stale() || !self.transfers.is_empty() {
                return Ok(());
            }
        }
    }

    fn retry_parked(&mut self) {
        for (op, tag) in std::mem::take(&mut self.parked) {
            if let Some(op) = self.start(op, tag) {
                self.parked.push_back((op, tag));
            }
        }
    }
}

impl Transfer {
    /// What the kernel is asked to move next.
    fn entry(&mut self, flight: &Flight) -> squeue::Entry {
        let file = types::Fixed(u32::try_from(self.layer).expect("a stack has few layers"));
        let part = self.rest.start..self.rest.end.min(self.rest.start.saturating_add(LARGEST));
        let write = flight.write.is_some();
        self.iovecs = if write {
            flight.buffers.source(part).into_iovecs()
        } else {
            flight.buffers.target(part).into_iovecs()
        };
        match (&self.iovecs[..], write) {
            (&[libc::iovec { iov_base, iov_len }], true) => {
                opcode::Write::new(file, iov_base.cast(), len(iov_len)).offset(self.offset).build()
            }
            (&[libc::iovec { iov_base, iov_len }], false) => {
                opcode::Read::new(file, iov_base.cast(), len(iov_len)).offset(self.offset).build()
            }
            (many, true) => opcode::Writev::new(file, many.as_ptr().cast(), len(many.len()))
                .offset(self.offset)
                .build(),
            (many, false) => opcode::Readv::new(file, many.as_ptr().cast(), len(many.len()))
                .offset(self.offset)
                .build(),
        }
    }
}

impl Disk for UringDisk {
    fn size(&self) -> u64 {
        self.layers.size()
    }

    fn read_only(&self) -> bool {
        self.layers.read_only()
    }

    fn submit(&mut self, op: Op, tag: Tag) {
        if let Err(error) = self.layers.check(&op) {
            self.finish(op, tag, Err(error));
        } else if let Some(op) = self.start(op, tag) {
            self.parked.push_back((op, tag));
        }
    }

    fn poll(&mut self, done: &mut Vec<Done>) -> Result<()> {
        self.move_at_once();
        // What was done at once has made nothing readable; most of the time that is all.
        if self.done.is_empty() || self.in_flight() > self.done.len() {
            self.look()?;
        }
        done.append(&mut self.done);
        Ok(())
    }

    fn wakeup(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }

    fn in_flight(&self) -> usize {
        self.flights.len() + self.parked.len() + self.inbox.expected() + self.done.len()
    }
}

impl Drop for UringDisk {
    /// Waits for what has been started; what is parked has not.
    fn drop(&mut self) {
        self.parked.clear();
        let mut done = Vec::new();
        while self.in_flight() > 0 {
            if let Err(error) = self.poll(&mut done) {
                log::error!("io_uring is broken, its buffers are given up: {error}");
                // The kernel may still use them.
                std::mem::forget(std::mem::take(&mut self.flights));
                std::mem::forget(std::mem::take(&mut self.transfers));
                return;
            }
            done.clear();
            if self.in_flight() > 0 {
                self.wakeup.wait();
            }
        }
    }
}

/// Whether the kernel takes entries again when it has dealt with others.
fn busy(error: &io::Error) -> bool {
    again(error) || error.raw_os_error() == Some(libc::EBUSY)
}

/// A length of at most [`LARGEST`].
fn len(len: usize) -> u32 {
    u32::try_from(len).expect("cut to LARGEST")
}
