//! What does a guest that writes all the time see of a snapshot, and of a flatten?

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use blockdev::{Engine, Pace, Stack, delta};

use crate::chain::Chain;
use crate::layout::{BLOCK, DISK, mixed};
use crate::queue::{Kind, Queue};
use crate::report::{Bound, Report, Result, percentile};
use crate::writes::Bases;

/// What the guest writes to: so much in each layer at most.
const REGION: u64 = 16 << 20;
/// Snapshots in each round, after so much undisturbed writing each.
const SNAPSHOTS: usize = 20;
const BETWEEN: Duration = Duration::from_millis(20);

/// How long each of a guest's writes took while something was done, in milliseconds.
struct Load {
    stop: AtomicBool,
    seen: Mutex<Vec<f64>>,
}

impl Load {
    /// Does `what` while a guest with 16 writes in flight works on `stack`.
    fn beside<T>(stack: &Stack, what: impl FnOnce(&Load) -> Result<T>) -> Result<T> {
        let load = Load { stop: AtomicBool::new(false), seen: Mutex::default() };
        let mut queue = Queue::new(stack.disk(Engine::Uring)?, 16, BLOCK)?;
        thread::scope(|scope| {
            let guest = scope.spawn(|| load.work(&mut queue).map_err(|error| error.to_string()));
            let result = what(&load);
            load.stop.store(true, Ordering::Release);
            guest.join().map_err(|_| "the guest has panicked")??;
            result
        })
    }

    fn work(&self, queue: &mut Queue) -> Result<()> {
        for burst in 0.. {
            if self.stop.load(Ordering::Acquire) {
                break;
            }
            let at = |index| mixed(burst * 256 + index) % (REGION / BLOCK) * BLOCK;
            let mut times = Vec::new();
            let mut seen = |took: Duration| times.push(took.as_secs_f64() * 1e3);
            queue.timed(Kind::Write, 256, at, &mut seen)?;
            self.seen.lock().map_err(|_| "poisoned")?.append(&mut times);
        }
        Ok(())
    }

    /// What has been seen since the last call.
    fn take(&self) -> Result<Vec<f64>> {
        Ok(std::mem::take(&mut *self.seen.lock().map_err(|_| "poisoned")?))
    }
}

pub fn measure(rounds: usize) -> Result<Report> {
    let (bases, mut report) = (Bases::new()?, Report::default());
    let mut pauses = Vec::new();
    for _ in 0..rounds {
        let (_dir, chain) = bases.clone()?;
        let (pause, writes) = snapshots(&chain)?;
        pauses.extend(pause);
        for (share, name) in
            [(0.5, "a write, median"), (0.99, "a write, p99"), (1.0, "a write, max")]
        {
            report.add("under snapshots [ms]", name, percentile(&writes, share), 0.0);
        }
    }
    for (share, name) in [(0.5, "pause, median"), (0.99, "pause, p99"), (1.0, "pause, max")] {
        report.add("under snapshots [ms]", name, percentile(&pauses, share), 0.0);
    }
    report.goal("pause of a snapshot, p99, ms", Bound::AtMost(2.0), percentile(&pauses, 0.99));
    for _ in 0..rounds {
        let (before, during) = flatten(&bases)?;
        report.add("p99 of a write [ms]", "before a flatten", before, 0.0);
        report.add("p99 of a write [ms]", "during a flatten", during, 0.0);
    }
    let ratio = report.ratio("p99 of a write [ms]", "during a flatten", "before a flatten");
    report.goal("p99 of a write during a flatten by that before", Bound::AtMost(3.0), ratio);
    Ok(report)
}

/// The pauses of snapshots of a disk that is written to, and the latencies of the writes.
fn snapshots(chain: &Chain) -> Result<(Vec<f64>, Vec<f64>)> {
    let (stack, top) = (chain.open()?, chain.files().next().ok_or("a clone has a delta")?);
    Load::beside(&stack, |load| {
        let (mut pauses, mut old) = (Vec::new(), top.clone());
        for number in 0..SNAPSHOTS {
            thread::sleep(BETWEEN);
            let new = top.with_extension(number.to_string());
            delta::create(&new, DISK, &delta::inspect(&old)?.as_parent())?;
            fs::File::open(&new)?.sync_all()?;
            pauses.push(stack.snapshot(&new)?.as_secs_f64() * 1e3);
            old = new;
        }
        Ok((pauses, load.take()?))
    })
}

/// The p99 of writes before and during a flatten of 4 layers with 32 MiB below the guest.
fn flatten(bases: &Bases) -> Result<(f64, f64)> {
    let dir = tempfile::tempdir_in(&bases.dir)?;
    let chain = layered(dir.path())?;
    let stack = chain.open()?;
    Load::beside(&stack, |load| {
        thread::sleep(BETWEEN * 20);
        let before = load.take()?;
        stack.flatten(Pace::Beside, &mut |_, _| ControlFlow::Continue(()))?;
        Ok((percentile(&before, 0.99), percentile(&load.take()?, 0.99)))
    })
}

fn layered(dir: &Path) -> Result<Chain> {
    const LAYERS: u64 = 4;
    const MIB: u64 = 1 << 20;
    let mut chain = Chain::nothing(dir.join("chain"))?;
    for layer in 0..LAYERS {
        let at = |index| REGION + (index * LAYERS + layer) * MIB;
        chain.queue(Engine::Sync, 1, MIB)?.run(Kind::Write, 8, at)?;
        chain.grow()?;
    }
    Ok(chain)
}
