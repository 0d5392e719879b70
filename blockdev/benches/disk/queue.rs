//! Drives a disk with so many operations in flight, as a virtqueue's worker does.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use blockdev::{Buffers, Disk, Done, Op, Tag};
use rustix::event::{PollFd, PollFlags, poll};

use crate::measure::Cost;
use crate::report::Result;

/// What is done at each place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
}

/// A disk, and a buffer for each operation in flight.
pub struct Queue {
    disk: Box<dyn Disk>,
    free: Vec<Buffers>,
    begun: VecDeque<Option<Instant>>,
    done: Vec<Done>,
}

impl Queue {
    /// On `disk`, with `depth` operations of `len` bytes.
    pub fn new(disk: Box<dyn Disk>, depth: usize, len: u64) -> Result<Queue> {
        let len = usize::try_from(len)?;
        let free = (0..depth).map(|_| Buffers::from_vec(vec![0x5a; len])).collect();
        Ok(Queue { disk, free, begun: VecDeque::new(), done: Vec::new() })
    }

    /// Does `count` operations, the n-th where `at` says.
    pub fn run(&mut self, kind: Kind, count: u64, at: impl FnMut(u64) -> u64) -> Result<Cost> {
        Cost::of(count, || self.go(kind, count, at, &mut |_| {}))
    }

    /// As [`run`](Queue::run), telling how long each took.
    pub fn timed(
        &mut self,
        kind: Kind,
        count: u64,
        at: impl FnMut(u64) -> u64,
        seen: &mut dyn FnMut(Duration),
    ) -> Result<()> {
        self.begun = std::iter::repeat_n(None, usize::try_from(count)?).collect();
        let result = self.go(kind, count, at, seen);
        self.begun.clear();
        result
    }

    fn go(
        &mut self,
        kind: Kind,
        count: u64,
        mut at: impl FnMut(u64) -> u64,
        seen: &mut dyn FnMut(Duration),
    ) -> Result<()> {
        let (mut given, mut left) = (0, count);
        while left > 0 {
            while given < count
                && let Some(buffers) = self.free.pop()
            {
                let at = at(given);
                if let Some(begun) = self.begun.get_mut(usize::try_from(given)?) {
                    *begun = Some(Instant::now());
                }
                let op = match kind {
                    Kind::Read => Op::Read { at, into: buffers },
                    Kind::Write => Op::Write { at, from: buffers },
                };
                self.disk.submit(op, Tag(given));
                given += 1;
            }
            left -= self.finish(seen)?;
        }
        Ok(())
    }

    /// Writes `count` times, the n-th where `at` says, and flushes after each.
    pub fn flushed(&mut self, count: u64, mut at: impl FnMut(u64) -> u64) -> Result<()> {
        (0..count).try_for_each(|index| {
            self.go(Kind::Write, 1, |_| at(index), &mut |_| {})?;
            self.one(Op::Flush)
        })
    }

    /// Does `op`, with nothing else in flight.
    pub fn one(&mut self, op: Op) -> Result<()> {
        self.disk.submit(op, Tag(u64::MAX));
        while self.finish(&mut |_| {})? == 0 {}
        Ok(())
    }

    /// Takes back what has finished; waits where nothing has.
    fn finish(&mut self, seen: &mut dyn FnMut(Duration)) -> Result<u64> {
        self.disk.poll(&mut self.done)?;
        if self.done.is_empty() {
            poll(&mut [PollFd::new(&self.disk.wakeup(), PollFlags::IN)], None)?;
            return Ok(0);
        }
        let finished = self.done.len() as u64;
        for Done { tag, result, buffers } in self.done.drain(..) {
            result?;
            self.free.extend(buffers);
            let begun = usize::try_from(tag.0).ok().and_then(|tag| *self.begun.get(tag)?);
            begun.iter().for_each(|begun| seen(begun.elapsed()));
        }
        Ok(finished)
    }
}
