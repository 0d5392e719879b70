//! The locks alone: flushes that share their commits, range locks, the gate.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use shuttle::thread::{self, JoinHandle};

use super::explore;
use crate::delta::{Commits, Gate, RangeLocks};
use crate::io::wakeup::Wakeup;
use crate::sync::scheduled::{point, until};

/// Starts threads and waits for all of them.
fn together(threads: impl IntoIterator<Item = Box<dyn FnOnce() + Send>>) {
    let threads: Vec<JoinHandle<()>> = threads.into_iter().map(thread::spawn).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn wakeup() -> Arc<Wakeup> {
    Arc::new(Wakeup::new().unwrap())
}

/// How many flush at once.
const FLUSHES: usize = 4;

/// What flushes did: when each came and left, and when the commits that somebody ran began and
/// ended.
#[derive(Debug, Default)]
struct Flushes {
    clock: AtomicU64,
    callers: Mutex<Vec<Range<u64>>>,
    commits: Mutex<Vec<Range<u64>>>,
}

impl Flushes {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Relaxed)
    }

    fn join(&self, commits: &Commits) {
        let came = self.tick();
        let commit = || {
            let begun = self.tick();
            if self.commits.lock().unwrap().is_empty() {
                until(|| commits.waiting() == FLUSHES - 1);
            }
            self.commits.lock().unwrap().push(begun..self.tick());
            Ok(())
        };
        commits.join(commit).unwrap();
        self.callers.lock().unwrap().push(came..self.tick());
    }

    /// That all who waited for the first share one commit, and a commit began and ended while each caller was there.
    fn check(&self) {
        let commits = self.commits.lock().unwrap();
        assert_eq!(commits.len(), 2, "the first, and one for all who waited");
        for caller in &*self.callers.lock().unwrap() {
            let covers =
                |commit: &Range<u64>| caller.start < commit.start && commit.end < caller.end;
            assert!(
                commits.iter().any(covers),
                "a flush returned without a commit of its own time"
            );
        }
    }
}

/// Flushes that all come while the first of them runs.
pub(super) fn sharing() {
    let (flushes, commits) = (Arc::new(Flushes::default()), Arc::new(Commits::default()));
    together((0..FLUSHES).map(|_| {
        let (flushes, commits) = (Arc::clone(&flushes), Arc::clone(&commits));
        Box::new(move || flushes.join(&commits)) as Box<dyn FnOnce() + Send>
    }));
    flushes.check();
}

/// Ranges that overlap, each held by one at a time.
pub(super) fn ranges() {
    let (locks, held) = (Arc::new(RangeLocks::default()), Arc::new(Mutex::new(BTreeSet::new())));
    together([0..4, 2..6, 5..8, 0..8].map(|range: Range<u64>| {
        let (locks, held) = (Arc::clone(&locks), Arc::clone(&held));
        Box::new(move || {
            let wakeup = wakeup();
            let guard = loop {
                match locks.try_lock(range.clone(), &wakeup) {
                    Some(guard) => break guard,
                    None => wakeup.wait(),
                }
                wakeup.clear();
            };
            for block in range.clone() {
                assert!(held.lock().unwrap().insert(block), "two hold a block");
            }
            point();
            held.lock().unwrap().retain(|block| !range.contains(block));
            drop(guard);
        }) as Box<dyn FnOnce() + Send>
    }));
}

/// What writers at a gate and who closes it agree on.
#[derive(Debug, Default)]
struct Passing {
    gate: Arc<Gate>,
    within: AtomicUsize,
    closed: AtomicBool,
}

impl Passing {
    /// Goes in once, or is told that there is another way.
    fn pass(&self) {
        let wakeup = wakeup();
        let Some(pass) = self.gate.enter(&wakeup) else { return wakeup.wait() };
        self.within.fetch_add(1, Relaxed);
        assert!(!self.closed.load(Relaxed), "somebody came in after the gate was closed");
        point();
        assert!(!self.closed.load(Relaxed), "somebody was in when the gate had been closed");
        self.within.fetch_sub(1, Relaxed);
        drop(pass);
    }

    fn close(&self) {
        self.gate.close();
        assert_eq!(self.within.load(Relaxed), 0, "somebody is in");
        self.closed.store(true, Relaxed);
        point();
    }
}

/// Two writers at a gate, and `closer`.
fn at_a_gate(closer: fn(&Passing)) {
    let passing = Arc::new(Passing::default());
    let writer = || {
        let passing = Arc::clone(&passing);
        Box::new(move || passing.pass()) as Box<dyn FnOnce() + Send>
    };
    let (first, second, third) = (writer(), writer(), Arc::clone(&passing));
    together([first, second, Box::new(move || closer(&third))]);
}

/// A gate is closed for good.
pub(super) fn gate_closed() {
    at_a_gate(|passing| {
        passing.close();
        passing.gate.leave_closed();
    });
}

/// A gate is closed for a while.
pub(super) fn gate_opened() {
    at_a_gate(|passing| {
        passing.close();
        passing.closed.store(false, Relaxed);
        passing.gate.open();
    });
}

#[test]
fn flushes_that_come_meanwhile_share_one_commit() {
    explore(sharing);
}

#[test]
fn a_block_is_held_by_one_at_a_time_and_everybody_gets_it() {
    explore(ranges);
}

#[test]
fn a_gate_that_is_closed_is_empty_and_everybody_refused_is_called_back() {
    explore(gate_closed);
    explore(gate_opened);
}
