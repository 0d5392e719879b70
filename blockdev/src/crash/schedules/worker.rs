//! Queues that have all they are asked for done by the worker, as an io_uring disk has what would
//! make it wait. What the kernel does for such a disk is in nobody's hands here.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use shuttle::thread::{self, JoinHandle};

use super::disk::Step::{self, Flush, Write};
use super::disk::{Machine, end};
use super::explore;
use crate::io::wakeup::Wakeup;
use crate::io::worker::{Inbox, Job, Worker};
use crate::stack::current::View;
use crate::sync::scheduled::alone;
use crate::{Disk, Done, Op, Result, Stack, Tag};

/// A disk that does nothing itself.
struct Given {
    layers: View,
    worker: Arc<Worker>,
    inbox: Arc<Inbox>,
    wakeup: Arc<Wakeup>,
    /// Waiting for somebody else's range lock, oldest first.
    parked: VecDeque<(Op, Tag)>,
}

impl Given {
    fn new(stack: &Stack, worker: Arc<Worker>) -> Given {
        let wakeup = Arc::new(Wakeup::new().unwrap());
        let layers = View::new(&stack.current);
        layers.watch(&wakeup);
        let inbox = Inbox::new(Arc::clone(&wakeup));
        Given { layers, worker, inbox, wakeup, parked: VecDeque::new() }
    }

    /// Has `op` done, or gives it back where it has to wait.
    fn start(&mut self, op: Op, tag: Tag) -> Option<Op> {
        self.layers.refresh();
        let permit = match op.written() {
            None => None,
            Some(range) => match self.layers.permit(&range, &self.wakeup).unwrap() {
                None => return Some(op),
                permit => permit,
            },
        };
        let (layers, inbox) = (Arc::clone(self.layers.layers()), Arc::clone(&self.inbox));
        self.worker.give(Job { op, tag, permit, layers, inbox });
        None
    }
}

impl Disk for Given {
    fn size(&self) -> u64 {
        self.layers.size()
    }

    fn read_only(&self) -> bool {
        self.layers.read_only()
    }

    fn submit(&mut self, op: Op, tag: Tag) {
        self.layers.check(&op).unwrap();
        if let Some(op) = self.start(op, tag) {
            self.parked.push_back((op, tag));
        }
    }

    fn poll(&mut self, done: &mut Vec<Done>) -> Result<()> {
        self.wakeup.clear();
        self.inbox.take(done);
        for (op, tag) in std::mem::take(&mut self.parked) {
            if let Some(op) = self.start(op, tag) {
                self.parked.push_back((op, tag));
            }
        }
        Ok(())
    }

    fn wakeup(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }

    fn in_flight(&self) -> usize {
        self.parked.len() + self.inbox.expected()
    }
}

/// Queues that share a worker, until all they were asked for is done; and `beside` them another.
fn served(machine: &Machine, queues: [Vec<Step>; 3], beside: Option<JoinHandle<()>>) {
    let (worker, work) = Worker::apart();
    let worker = Arc::new(worker);
    let serving = thread::spawn(work);
    let queues = queues.map(|steps| {
        let (stack, worker) = (machine.stack(), Arc::clone(&worker));
        machine.queue_on(move || Box::new(Given::new(&stack, worker)), steps)
    });
    end(queues.into_iter().chain(beside));
    // The last who could give it something is gone.
    drop(worker);
    serving.join().unwrap();
}

/// New blocks and parts of them, and flushes that come together.
pub(super) fn flushed() {
    let machine = Machine::new(|_| ());
    let queues = [
        vec![Write(1..3), Flush, Write(17..18), Flush],
        vec![Write(4..6), Flush, Write(24..32), Flush],
        vec![Write(6..11), Write(20..23), Flush],
    ];
    served(&machine, queues, None);
    machine.check();
}

/// The same, and meanwhile a snapshot: what the worker was given before is for the old layers.
pub(super) fn reopened() {
    let mut machine = Machine::new(|_| ());
    let (_, new) = alone(|| machine.world.new_top().unwrap());
    let (stack, storage) = (machine.stack(), Arc::clone(&machine.world.files[new]));
    let snapshot = thread::spawn(move || {
        stack.snapshot_in(storage).unwrap();
    });
    let queues = [
        vec![Write(1..3), Flush, Write(1..3), Flush],
        vec![Write(4..6), Write(9..12), Flush],
        vec![Write(16..18), Flush],
    ];
    served(&machine, queues, Some(snapshot));
    machine.check();
}

#[test]
fn a_worker_does_what_all_queues_give_it_and_tells_each_of_them() {
    explore(flushed);
}

#[test]
fn a_worker_goes_on_beside_a_snapshot() {
    explore(reopened);
}
