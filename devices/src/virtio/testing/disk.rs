//! A disk that holds requests back, fails, and finishes in another order, as a test wants it.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use blockdev::{Disk, Done, Op, Tag};
use rustix::event::{EventfdFlags, eventfd};

/// What a disk was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Read(Range<usize>),
    Write(Range<usize>),
    Flush,
    Discard(Range<u64>),
    Zero(Range<u64>),
}

/// The contents of all disks made from it, and the test's hand on them.
#[derive(Clone, Default)]
pub struct Platter(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    log: Vec<Event>,
    held: Vec<(Op, Tag, Mailbox)>,
    holding: bool,
    failing: bool,
    /// How many operations find no room.
    starving: usize,
    broken: bool,
}

impl Platter {
    pub fn new(bytes: Vec<u8>) -> Self {
        let platter = Platter::default();
        platter.state().bytes = bytes;
        platter
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    pub fn log(&self) -> Vec<Event> {
        self.state().log.clone()
    }

    /// From now on operations wait for `release`, or for the end of the returned value: a test
    /// that fails meanwhile must not wait for itself.
    #[must_use]
    pub fn hold(&self) -> Holding {
        self.state().holding = true;
        Holding(self.clone())
    }

    /// From now on operations fail.
    pub fn fail(&self) {
        self.state().failing = true;
    }

    /// The next `count` operations that are no reads find no room; of a write a half is done.
    pub fn starve(&self, count: usize) {
        self.state().starving = count;
    }

    /// From now on polling fails.
    pub fn break_engine(&self) {
        self.state().broken = true;
    }

    /// Returns when so many operations are held back.
    pub fn wait_held(&self, count: usize) {
        let patience = Duration::from_secs(60);
        let waiting = |state: &mut State| state.held.len() < count;
        let (_state, timeout) =
            self.0.1.wait_timeout_while(self.state(), patience, waiting).unwrap();
        assert!(!timeout.timed_out(), "the disk was not asked");
    }

    /// Lets go what is held back, the last first, and holds no more.
    pub fn release(&self) {
        self.state().holding = false;
        self.release_held();
    }

    /// Lets go what is held back, the last first, and holds what comes next.
    pub fn release_held(&self) {
        let mut state = self.state();
        while let Some((op, tag, mailbox)) = state.held.pop() {
            mailbox.post(state.perform(op, tag));
        }
    }

    pub fn disk(&self) -> FakeDisk {
        FakeDisk { platter: self.clone(), mailbox: Mailbox::new(), in_flight: 0 }
    }
}

pub struct Holding(Platter);

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl State {
    fn perform(&mut self, op: Op, tag: Tag) -> Done {
        let starved = self.starving > 0 && !matches!(op, Op::Read { .. });
        self.starving -= usize::from(starved);
        let (buffers, event) = match op {
            Op::Read { at, into } => {
                let range = span(at, into.len());
                into.target(0..into.len()).copy_from(&self.bytes[range.clone()]);
                (Some(into), Event::Read(range))
            }
            Op::Write { at, from } => {
                let range = span(at, from.len());
                if !self.failing {
                    let len = if starved { range.len() / 2 } else { range.len() };
                    self.bytes[range.clone()][..len].copy_from_slice(&from.to_vec()[..len]);
                }
                (Some(from), Event::Write(range))
            }
            Op::Flush => (None, Event::Flush),
            Op::Discard(range) => (None, Event::Discard(range)),
            Op::Zero(range) => (None, Event::Zero(range)),
        };
        self.log.push(event);
        let result = match (self.failing, starved) {
            (true, _) => Err(failure()),
            (_, true) => Err(no_room()),
            _ => Ok(()),
        };
        Done { tag, result, buffers }
    }
}

fn span(at: u64, len: usize) -> Range<usize> {
    let at = usize::try_from(at).unwrap();
    at..at + len
}

/// The error of operations that fail.
pub fn failure() -> blockdev::Error {
    let source = io::Error::other("as the test wanted");
    blockdev::Error::Open { path: PathBuf::from("fake"), source }
}

/// The error of operations that find no room.
fn no_room() -> blockdev::Error {
    let source = io::ErrorKind::StorageFull.into();
    blockdev::Error::Write { path: PathBuf::from("fake"), at: 0, source }
}

/// Where finished operations wait for `poll`.
#[derive(Clone)]
struct Mailbox {
    done: Arc<Mutex<Vec<Done>>>,
    event: Arc<OwnedFd>,
}

impl Mailbox {
    fn new() -> Self {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        Mailbox { done: Arc::default(), event: Arc::new(event) }
    }

    fn post(&self, done: Done) {
        self.done.lock().unwrap().push(done);
        rustix::io::write(&*self.event, &1u64.to_ne_bytes()).unwrap();
    }
}

pub struct FakeDisk {
    platter: Platter,
    mailbox: Mailbox,
    in_flight: usize,
}

impl Disk for FakeDisk {
    fn size(&self) -> u64 {
        self.platter.state().bytes.len() as u64
    }

    fn read_only(&self) -> bool {
        false
    }

    fn submit(&mut self, op: Op, tag: Tag) {
        self.in_flight += 1;
        let mut state = self.platter.state();
        if state.holding {
            state.held.push((op, tag, self.mailbox.clone()));
            self.platter.0.1.notify_all();
        } else {
            let done = state.perform(op, tag);
            self.mailbox.post(done);
        }
    }

    fn poll(&mut self, done: &mut Vec<Done>) -> blockdev::Result<()> {
        if self.platter.state().broken {
            return Err(failure());
        }
        let _ = rustix::io::read(&*self.mailbox.event, &mut [0; 8]);
        let before = done.len();
        done.append(&mut self.mailbox.done.lock().unwrap());
        self.in_flight -= done.len() - before;
        Ok(())
    }

    fn wakeup(&self) -> BorrowedFd<'_> {
        self.mailbox.event.as_fd()
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }
}
