//! Several queues of one machine, and what is done to its disk meanwhile.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use shuttle::thread::{self, JoinHandle};

use super::explore;
use super::truth::Truth;
use crate::crash::chains::{Below, go};
use crate::crash::cut::{Cut, DATA, File, Random};
use crate::crash::model::{self, Found};
use crate::crash::words::switched_off;
use crate::crash::world::{Store, Top, World, read};
use crate::io::mem::{Call, Event, Record};
use crate::sync::scheduled::alone;
use crate::testing::{run, write};
use crate::{Disk, Engine, Error, Op, Pace, Result, Stack};

/// What a queue is asked for.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Write(Range<usize>),
    Flush,
}

use Step::{Flush, Write};

/// A machine, and what its queues have told.
pub(super) struct Machine {
    pub(super) world: World,
    truth: Arc<Truth>,
    before: Found,
    /// After how many records of the log.
    begun: usize,
}

impl Machine {
    /// One whose disk holds what `prepare` does to it.
    pub(super) fn new(prepare: impl FnOnce(&mut World)) -> Machine {
        alone(|| {
            let mut world = World::new();
            prepare(&mut world);
            let stack = &world.open().stack;
            stack.flush().unwrap();
            let before = read(&stack.current.get()).unwrap();
            let truth = Truth::new(Arc::clone(&world.log));
            let begun = world.log.len();
            Machine { world, truth, before, begun }
        })
    }

    pub(super) fn stack(&self) -> Stack {
        self.world.open().stack.clone()
    }

    /// A queue that is asked for `steps`, one after the other.
    fn queue(&self, steps: Vec<Step>) -> JoinHandle<()> {
        let stack = self.stack();
        self.queue_on(move || stack.disk(Engine::Sync).unwrap(), steps)
    }

    /// The same on the disk that `open` opens.
    pub(super) fn queue_on(
        &self,
        open: impl FnOnce() -> Box<dyn Disk> + Send + 'static,
        steps: Vec<Step>,
    ) -> JoinHandle<()> {
        let truth = Arc::clone(&self.truth);
        thread::spawn(move || {
            let mut disk = open();
            steps.iter().for_each(|step| perform(&mut *disk, &truth, step).unwrap());
        })
    }

    /// When all queues have ended: the running disk has what they wrote, and whatever a crash left
    /// at some time is legal.
    pub(super) fn check(mut self) {
        alone(|| {
            let found = read(&self.world.open().stack.current.get()).unwrap();
            self.truth.check_running(&found, &self.before).expect("the running disk");
            self.check_cuts();
        });
    }

    /// Looks at what is left after every write of bits and headers, and after some others.
    fn check_cuts(&mut self) {
        const OTHERS: usize = 3;
        let (start, records) = self.world.cut();
        let mut random = Random(records.len() as u64);
        let cuts = (self.begun..=records.len()).filter(|&cut| {
            let last = cut.checked_sub(1).and_then(|last| records.get(last));
            last.is_some_and(is_metadata) || random.below(records.len()) < OTHERS
        });
        for cut in cuts.collect::<Vec<_>>() {
            let left = Cut::after(&start, &records[..cut]);
            assert!(!left.risks_a_header(), "both headers under way after {cut} records");
            let some = (0..left.loose()).map(|_| random.next() & 1 == 1).collect();
            for kept in [vec![true; left.loose()], left.without_data(), some] {
                let checked = self.check_files(left.keep(&kept), cut);
                checked.unwrap_or_else(|what| {
                    panic!("cut after {cut} of {} records: {what}", records.len())
                });
            }
        }
    }

    fn check_files(&self, files: Vec<File>, cut: usize) -> std::result::Result<(), String> {
        let files = switched_off(files);
        let store = Store { bases: &self.world.bases, files: &files };
        let legal = self.world.ledger().at(cut).clone();
        let found = store.look(&legal, legal.places.delta, Top::Written);
        let found = found.map_err(|error| format!("{error:?}"))?;
        self.truth.check(&found, &self.before, cut)
    }
}

/// Whether it wrote a header or bits.
fn is_metadata(record: &Record) -> bool {
    match &record.event {
        Event::Write(sectors) => sectors.iter().any(|(sector, _)| *sector < DATA),
        Event::Len(_) | Event::Sync(_) | Event::Mark => false,
    }
}

fn perform(disk: &mut dyn Disk, truth: &Truth, step: &Step) -> Result<()> {
    match step {
        Write(sectors) => {
            let (writing, content) = truth.write(sectors);
            let bytes = model::expand(content).repeat(sectors.len());
            write(disk, model::bytes(sectors).start, &bytes)?;
            truth.written(writing);
        }
        Flush => {
            let begun = truth.flush();
            run(disk, Op::Flush)?;
            truth.flushed(begun);
        }
    }
    Ok(())
}

pub(super) fn end(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Parts of the same blocks, and of a block that the base covers in part.
pub(super) fn overlap() {
    let machine = Machine::new(|_| ());
    end([
        machine.queue(vec![Write(1..3), Flush, Write(17..18), Write(1..3)]),
        machine.queue(vec![Write(4..6), Write(18..20), Flush]),
        machine.queue(vec![Write(6..11), Write(20..23), Flush]),
    ]);
    machine.check();
}

/// New blocks, of which some share a bitmap sector, each flushed by its own queue.
pub(super) fn flushes() {
    let machine = Machine::new(|_| ());
    end([
        machine.queue(vec![Write(0..8), Flush, Write(0..8), Flush]),
        machine.queue(vec![Write(8..16), Flush]),
        machine.queue(vec![Write(32..34), Flush, Write(34..36), Flush]),
    ]);
    machine.check();
}

/// New blocks, which are written while another queue flushes.
pub(super) fn bits() {
    let machine = Machine::new(|_| ());
    end([
        machine.queue(vec![Write(0..8), Flush, Write(16..24), Flush]),
        machine.queue(vec![Write(8..16), Write(32..40)]),
    ]);
    machine.check();
}

/// The first sync fails: from then on nobody is told that anything is durable.
pub(super) fn failure() {
    let machine = Machine::new(|_| ());
    let eio = || Err(io::Error::from_raw_os_error(libc::EIO));
    machine.world.top().trap(Call::Sync, 0, eio);
    let queue = |sectors: Range<usize>| {
        let stack = machine.stack();
        thread::spawn(move || {
            let mut disk = stack.disk(Engine::Sync).unwrap();
            let at = model::bytes(&sectors).start;
            let written = write(&mut *disk, at, &vec![7; sectors.len() * 512]);
            (written, run(&mut *disk, Op::Flush))
        })
    };
    let queues = [0..8, 1..3, 32..34].map(queue);
    for (written, flushed) in queues.map(|queue| queue.join().unwrap()) {
        let failed = |error| matches!(error, Error::Failed { .. });
        assert!(flushed.is_err_and(failed), "a flush after a failed sync went well");
        assert!(written.is_ok() || written.is_err_and(failed));
    }
}

/// A snapshot, which nothing that is written later shows up in.
pub(super) fn snapshot() {
    let mut machine = Machine::new(|_| ());
    let (old, new) = alone(|| machine.world.new_top().unwrap());
    let stack = machine.stack();
    let storage = Arc::clone(&machine.world.files[new]);
    let (bases, files) = (machine.world.bases.clone(), machine.world.files.clone());
    let legal = machine.world.ledger().now.clone();
    let frozen = move || {
        alone(|| Store { bases: &bases, files: &files }.look(&legal, old, Top::Read).unwrap())
    };
    let queues = [
        machine.queue(vec![Write(1..3), Flush, Write(1..3), Flush]),
        machine.queue(vec![Write(4..6), Write(9..12), Flush]),
    ];
    let snapshot = thread::spawn(move || {
        stack.snapshot_in(storage).unwrap();
        (frozen(), frozen)
    });
    end(queues);
    let (before, frozen) = snapshot.join().unwrap();
    assert!(before == frozen(), "what is frozen has changed");
    machine.check();
}

/// Zeroes are given back, in blocks that are written to.
pub(super) fn compact() {
    use crate::crash::letters::{Guest, Letter};
    let machine = Machine::new(|world| {
        let letters = [Guest::Write(0..8), Guest::Zero(8..24)];
        letters.into_iter().for_each(|guest| world.act(&Letter::Do(guest)).unwrap());
    });
    let stack = machine.stack();
    end([
        machine.queue(vec![Write(9..12), Flush]),
        machine.queue(vec![Write(16..18), Write(1..3)]),
        thread::spawn(move || assert!(stack.compact(Pace::Full, &mut go).unwrap() <= 8192)),
    ]);
    machine.check();
}

/// What is below is copied up, in blocks that are written to.
pub(super) fn flatten() {
    let machine = Machine::new(|_| ());
    let (parent, target) = alone(|| machine.world.target(&Below::default()).unwrap());
    let stack = machine.stack();
    end([
        machine.queue(vec![Write(1..3), Flush]),
        machine.queue(vec![Write(17..19), Write(9..12)]),
        thread::spawn(move || stack.stand_on(parent, target, Pace::Full, &mut go).unwrap()),
    ]);
    machine.check();
}

#[test]
fn writes_to_parts_of_a_block_never_lose_each_other() {
    explore(overlap);
}

#[test]
fn a_flush_returns_when_all_that_was_done_before_it_is_durable() {
    explore(flushes);
}

#[test]
fn a_bit_is_durable_when_what_it_speaks_of_is() {
    explore(bits);
}

#[test]
fn a_failed_sync_is_an_error_for_every_flush_that_waits() {
    explore(failure);
}

#[test]
fn writers_in_flight_are_before_a_snapshot_or_after_it() {
    explore(snapshot);
}

#[test]
fn zeroes_are_given_back_beside_writers() {
    explore(compact);
}

#[test]
fn a_disk_is_flattened_beside_writers() {
    explore(flatten);
}
