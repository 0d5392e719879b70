//! Acting out what a guest asks for.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::cut;
use super::letters::{Guest, Letter};
use super::model::{self, Flushing};
use super::world::{BASE, Ledger, World};
use crate::io::mem::Call;
use crate::seeded::{current, seed};
use crate::testing::{drain, run};
use crate::{Buffers, Disk, ErrorKind, Op, Result, Stack, Tag};

/// The bitmap's sectors in a file, and more.
pub(super) const BITMAP: Call = Call::Write(16, cut::DATA);
/// The data area's sectors.
const DATA: Call = Call::Write(cut::DATA, u64::MAX / 512);
/// How often to look whether a thread has got anywhere.
const LOOKS: usize = 100;

impl Ledger {
    /// The operation of `guest`; from now on a crash may find it done.
    pub(super) fn begin(&mut self, guest: &Guest) -> Op {
        let size = self.now.model.size();
        let op = match guest {
            // A disk that was made smaller has no such sectors.
            Guest::Write(range) | Guest::Zero(range) | Guest::Discard(range)
                if range.end > size =>
            {
                Op::Discard(0..0)
            }
            Guest::Flush => Op::Flush,
            Guest::Write(range) => {
                let content = self.stamp();
                self.now.model.write(range.clone(), content);
                let bytes = model::expand(content).repeat(range.len());
                Op::Write { at: model::bytes(range).start, from: Buffers::from_vec(bytes) }
            }
            Guest::Zero(range) => Op::Zero(self.zero(range)),
            Guest::Discard(range) => Op::Discard(self.zero(range)),
        };
        self.note();
        op
    }

    fn zero(&mut self, range: &Range<usize>) -> Range<u64> {
        self.now.model.write(range.clone(), 0);
        model::bytes(range)
    }
}

impl World {
    /// Does what `letter` says, and keeps the ledger.
    pub(super) fn act(&mut self, letter: &Letter) -> Result<()> {
        match letter {
            Letter::Do(Guest::Flush) => self.flush(),
            Letter::Do(guest) => self.perform(guest),
            Letter::FlushDuring(sync, guest) => {
                let flushing = self.ledger().now.model.begin_flush();
                let meanwhile = self.meanwhile(guest);
                let early = meanwhile.clone();
                self.top().trap(Call::Sync, *sync, move || early.submit());
                self.end_flush(flushing).and(meanwhile.end())
            }
            Letter::FlushTwice(guest) => self.flush_twice(guest),
            Letter::FlushFull => self.flush_full(),
            Letter::Race(first, second) => self.race(first, second),
            Letter::FlushInside(guest) => self.flush_inside(guest),
            Letter::Change(letter) => self.change(letter),
        }
    }

    fn perform(&mut self, guest: &Guest) -> Result<()> {
        let op = self.ledger().begin(guest);
        run(&mut *self.open.as_mut().expect("the machine is on").disk, op).map(drop)
    }

    fn flush(&mut self) -> Result<()> {
        flush(&self.open().stack, &self.ledger)
    }

    /// The flush that has begun ends; what waited for it and did not come is forgotten.
    fn end_flush(&mut self, flushing: Flushing) -> Result<()> {
        let result = end_flush(&self.open().stack, &self.ledger, flushing);
        self.top().disarm();
        result
    }

    fn flush_twice(&mut self, guest: &Guest) -> Result<()> {
        let flushing = self.ledger().now.model.begin_flush();
        let meanwhile = self.meanwhile(guest);
        let (stack, ledger) = (self.open().stack.clone(), Arc::clone(&self.ledger));
        let second: Arc<Mutex<Option<JoinHandle<Result<()>>>>> = Arc::default();
        let handle = Arc::clone(&second);
        self.top().trap(Call::Sync, 0, move || {
            meanwhile.submit()?;
            let bug = current();
            let thread = thread::spawn(move || {
                seed(bug);
                flush(&stack, &ledger)
            });
            // It waits for the first flush, in which we are; unless something is wrong with it.
            for _ in 0..LOOKS {
                if thread.is_finished() {
                    break;
                }
                thread::yield_now();
            }
            *handle.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
            Ok(())
        });
        let first = self.end_flush(flushing);
        let second = second.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.and(second.map_or(Ok(()), |second| second.join().expect("a flush does not panic")))
    }

    fn flush_full(&mut self) -> Result<()> {
        self.top().trap(BITMAP, 0, || Err(io::Error::from_raw_os_error(libc::ENOSPC)));
        let result = self.flush();
        self.top().disarm();
        match result {
            Err(error) if error.kind() == ErrorKind::NoSpace => Ok(()),
            other => other,
        }
    }

    fn race(&mut self, first: &Range<usize>, second: &Range<usize>) -> Result<()> {
        let op = self.ledger().begin(&Guest::Write(first.clone()));
        let meanwhile = self.meanwhile(&Guest::Write(second.clone()));
        let early = meanwhile.clone();
        self.files[BASE].trap(Call::Read, 0, move || early.submit());
        let done = run(&mut *self.open.as_mut().expect("the machine is on").disk, op);
        self.files[BASE].disarm();
        done.and(meanwhile.end())
    }

    fn flush_inside(&mut self, guest: &Guest) -> Result<()> {
        let (stack, ledger) = (self.open().stack.clone(), Arc::clone(&self.ledger));
        // It owes nothing to what has not been done.
        let flushing = self.ledger().now.model.begin_flush();
        let flush = move || end_flush(&stack, &ledger, flushing).map_err(io::Error::other);
        self.top().trap(DATA, 0, flush);
        let result = self.perform(guest);
        self.top().disarm();
        result
    }

    /// What another queue is to do while something else goes on.
    pub(super) fn meanwhile(&self, guest: &Guest) -> Meanwhile {
        let op = self.ledger().begin(guest);
        Meanwhile(Arc::new(Mutex::new((self.another_disk(), Some(op)))))
    }
}

/// An operation of another queue, which may have to wait for what goes on.
#[derive(Clone)]
pub(super) struct Meanwhile(Arc<Mutex<Queue>>);

/// A disk, and what it is to do.
type Queue = (Box<dyn Disk>, Option<Op>);

impl Meanwhile {
    /// Begins it.
    pub(super) fn submit(&self) -> io::Result<()> {
        let (disk, op) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        op.take().into_iter().for_each(|op| disk.submit(op, Tag(2)));
        Ok(())
    }

    /// Begins it now if it has not begun, and sees it to its end.
    pub(super) fn end(&self) -> Result<()> {
        let begun = self.submit();
        debug_assert!(begun.is_ok(), "submitting always goes well");
        let (disk, _) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drain(&mut **disk).into_iter().try_for_each(|done| done.result)
    }
}

/// Flushes, and keeps the ledger.
fn flush(stack: &Stack, ledger: &Mutex<Ledger>) -> Result<()> {
    let flushing = ledger.lock().unwrap_or_else(PoisonError::into_inner).now.model.begin_flush();
    end_flush(stack, ledger, flushing)
}

fn end_flush(stack: &Stack, ledger: &Mutex<Ledger>, flushing: Flushing) -> Result<()> {
    stack.flush()?;
    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    ledger.now.model.end_flush(flushing);
    ledger.note();
    Ok(())
}
