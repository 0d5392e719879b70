//! Four queues of a fresh clone, each writing a new block and flushing, over and over.

use std::thread;

use blockdev::Engine;
use std::os::unix::fs::FileExt;

use crate::layout::{BLOCK, DISK, STEP, STRIDE, scattered};
use crate::measure::Cost;
use crate::queue::Queue;
use crate::race::{Contender, race};
use crate::report::{Report, Result};
use crate::writes::Bases;

const QUEUES: u64 = 4;
/// Writes of each queue, and as many flushes.
const COUNT: u64 = 100;

pub fn measure(rounds: usize) -> Result<Report> {
    let (bases, mut report) = (Bases::new()?, Report::default());
    let bases = &bases;
    let contenders = vec![
        Contender::new("raw file, fdatasync", move |_| raw(bases)),
        Contender::new("uring", move |_| ours(bases, Engine::Uring)),
        Contender::new("sync", move |_| ours(bases, Engine::Sync)),
    ];
    let figure = "4 queues, each write flushed [kIOPS]";
    race(&mut report, figure, rounds, Cost::kiops, contenders)?;
    Ok(report)
}

/// Where queue `queue` writes: blocks that no other does.
fn places(queue: u64) -> impl FnMut(u64) -> u64 {
    let mut at = scattered(STEP * STRIDE + BLOCK, DISK);
    move |index| at(index * QUEUES + queue)
}

fn raw(bases: &Bases) -> Result<Cost> {
    let file = &bases.file()?;
    together(|queue| {
        let mut at = places(queue);
        for index in 0..COUNT {
            file.write_all_at(&[0x5a; 4096], at(index)).and_then(|()| file.sync_data()).ok()?;
        }
        Some(())
    })
}

fn ours(bases: &Bases, engine: Engine) -> Result<Cost> {
    let (_dir, chain) = bases.clone()?;
    let stack = chain.open()?;
    together(|queue| {
        let mut disk = Queue::new(stack.disk(engine).ok()?, 1, BLOCK).ok()?;
        disk.flushed(COUNT, places(queue)).ok()
    })
}

/// What it takes until all queues are done with `work`.
fn together(work: impl Fn(u64) -> Option<()> + Sync) -> Result<Cost> {
    let (work, count) = (&work, QUEUES * COUNT);
    Cost::of(count, || {
        let done = thread::scope(|scope| {
            let queues: Vec<_> =
                (0..QUEUES).map(|queue| scope.spawn(move || work(queue))).collect();
            queues.into_iter().all(|queue| matches!(queue.join(), Ok(Some(()))))
        });
        if done { Ok(()) } else { Err("a queue's writes or flushes failed".into()) }
    })
}
