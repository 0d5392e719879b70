//! A disk on recorded storage, and a model that knows which contents a crash may leave.
//!
//! At a cut, everything synced is there, and of the rest any subset of sectors. For each sector of
//! the disk these contents are legal: those of the last flush that returned, and all written since.

use std::ops::Range;
use std::sync::Arc;

use uuid::Uuid;

use crate::base::{Base, Identity};
use crate::delta::{Parent, create_in};
use crate::io::Storage;
use crate::io::mem::{Event, Image, MemStorage, Sector, apply};
use crate::testing::{pattern, read, run};
use crate::{Buffers, Disk, Engine, Op, Result, Stack};

/// Two blocks and a part that is no whole number of sectors.
const BASE: usize = 2 * 4096 + 700;
/// Two blocks more than the base, the last one a part.
pub(super) const SECTORS: u64 = 4 * 8 + 2;

#[derive(Clone, Debug)]
pub(super) enum Letter {
    Write(Range<u64>),
    Zero(Range<u64>),
    Flush,
    /// A flush, and what completes while its first or second sync goes on.
    FlushDuring(Box<Letter>),
}

/// Sectors: a block, parts of it, across blocks, several, the base's end, past it, the disk's end.
const RANGES: [Range<u64>; 8] = [0..8, 1..3, 6..11, 8..24, 17..18, 20..27, 24..32, 32..34];

pub(super) fn alphabet() -> Vec<Letter> {
    let plain = RANGES.iter().cloned().flat_map(|r| [Letter::Write(r.clone()), Letter::Zero(r)]);
    let plain: Vec<_> = plain.collect();
    let during = [0, 2, 6, 7].map(|index: usize| Letter::FlushDuring(plain[index].clone().into()));
    plain.into_iter().chain([Letter::Flush]).chain(during).collect()
}

/// What each sector of the disk may hold, oldest first; the last is what it holds now.
#[derive(Clone)]
pub(super) struct Model(Vec<Vec<Sector>>);

impl Model {
    pub(super) fn of(bytes: &[u8]) -> Model {
        Model(bytes.as_chunks().0.iter().map(|sector| vec![*sector]).collect())
    }

    fn write(&mut self, range: &Range<u64>, contents: Sector) {
        for sector in range.clone() {
            self.0[sector as usize].push(contents);
        }
    }

    /// Where a flush that begins now will have brought each sector.
    fn begin_flush(&self) -> Vec<usize> {
        self.0.iter().map(|legal| legal.len() - 1).collect()
    }

    fn end_flush(&mut self, begun: &[usize]) {
        for (legal, &begun) in self.0.iter_mut().zip(begun) {
            legal.drain(..begun);
        }
    }

    pub(super) fn check(&self, found: &[u8], when: &dyn Fn() -> String) {
        for (sector, (legal, found)) in self.0.iter().zip(found.as_chunks().0).enumerate() {
            assert!(
                legal.contains(found),
                "sector {sector} holds {:?}..., none of {} legal contents; {}",
                &found[..4],
                legal.len(),
                when()
            );
        }
    }
}

/// A machine's disk until its power is cut.
pub(super) struct Life {
    pub(super) spec: Base,
    pub(super) base: Arc<MemStorage>,
    pub(super) delta: Arc<MemStorage>,
    /// The delta as it was when the machine started.
    pub(super) start: (u64, Image),
    pub(super) stack: Stack,
    disk: Box<dyn Disk>,
    pub(super) model: Model,
    /// After how many recorded events each operation was done, and what was legal then.
    history: Vec<(usize, Model)>,
    stamp: u8,
}

impl Life {
    pub(super) fn new() -> Life {
        let bytes = pattern(BASE, 1);
        let identity = Identity {
            uuid: Uuid::new_v4(),
            size: BASE as u64,
            digest: blake3::hash(&bytes).to_hex().to_string(),
            mtime_ns: 0,
            inode: 0,
        };
        let spec = Base { path: "base".into(), identity };
        let delta = MemStorage::default();
        create_in(&delta, SECTORS * 512, &Parent::base(&spec.identity).unwrap()).unwrap();
        let mut disk = bytes.clone();
        disk.resize(SECTORS as usize * 512, 0);
        let base = Arc::new(MemStorage::from_bytes(&bytes));
        Life::from(spec, base, delta.contents(), Model::of(&disk))
    }

    pub(super) fn from(
        spec: Base,
        base: Arc<MemStorage>,
        start: (u64, Image),
        model: Model,
    ) -> Life {
        let delta = Arc::new(MemStorage::new(start.0, start.1.clone()));
        let stack = open(&spec, &base, &delta);
        let disk = stack.disk(Engine::Sync).unwrap();
        let history = vec![(0, model.clone())];
        Life { spec, base, delta, start, stack, disk, model, history, stamp: 0 }
    }

    /// Does what `letter` says and remembers what is legal afterwards.
    pub(super) fn act(&mut self, letter: &Letter) {
        self.try_act(letter).unwrap();
    }

    /// As [`act`](Life::act), where it may fail: then old and new are legal.
    pub(super) fn try_act(&mut self, letter: &Letter) -> Result<()> {
        match letter {
            Letter::Flush => {
                let begun = self.model.begin_flush();
                run(&mut *self.disk, Op::Flush)?;
                self.model.end_flush(&begun);
            }
            Letter::FlushDuring(letter) => {
                let begun = self.model.begin_flush();
                let op = self.op(letter);
                let mut disk = self.stack.disk(Engine::Sync).unwrap();
                self.delta.during_sync(move || drop(run(&mut *disk, op).unwrap()));
                // From here on both are under way, and either may have reached the disk.
                self.history.last_mut().unwrap().1 = self.model.clone();
                run(&mut *self.disk, Op::Flush)?;
                self.model.end_flush(&begun);
            }
            letter => {
                let op = self.op(letter);
                // While it is under way its contents are legal as well as the old ones.
                self.history.last_mut().unwrap().1 = self.model.clone();
                run(&mut *self.disk, op)?;
            }
        }
        self.history.push((self.delta.events(), self.model.clone()));
        Ok(())
    }

    /// After an operation failed nobody knows how much of it was done: looks what is there now.
    pub(super) fn look(&mut self) {
        let found = read(&mut *self.disk, 0, SECTORS as usize * 512).unwrap();
        self.model.check(&found, &|| "after an error".into());
        for (legal, found) in self.model.0.iter_mut().zip(found.as_chunks().0) {
            legal.push(*found);
        }
        self.history.push((self.delta.events(), self.model.clone()));
    }

    /// The operation of a plain letter; the model has it done.
    fn op(&mut self, letter: &Letter) -> Op {
        match letter {
            Letter::Write(range) => {
                self.stamp += 1;
                let contents = [self.stamp | 0x80; 512];
                self.model.write(range, contents);
                let bytes = contents.repeat((range.end - range.start) as usize);
                Op::Write { at: range.start * 512, from: Buffers::from_vec(bytes) }
            }
            Letter::Zero(range) => {
                self.model.write(range, [0; 512]);
                Op::Zero(range.start * 512..range.end * 512)
            }
            Letter::Flush | Letter::FlushDuring(_) => unreachable!("not plain"),
        }
    }

    /// Ends the life without the orderly flush of its end, and returns what was recorded.
    pub(super) fn cut(&mut self) -> Vec<Event> {
        self.delta.take_log()
    }

    /// Which contents are legal when the power is cut after so many events.
    pub(super) fn legal(&self, cut: usize) -> &Model {
        let done = self.history.partition_point(|&(events, _)| events <= cut);
        &self.history[done - 1].1
    }

    /// What the disk reads as when it starts again from `image`.
    pub(super) fn reopen(&self, image: &Image) -> (Vec<u8>, Arc<MemStorage>) {
        let delta = Arc::new(MemStorage::new(self.start.0, image.clone()));
        let stack = open(&self.spec, &self.base, &delta);
        let mut disk = stack.disk(Engine::Sync).unwrap();
        let found = read(&mut *disk, 0, SECTORS as usize * 512).unwrap();
        assert_eq!(delta.events(), 0, "opening and reading writes nothing");
        (found, Arc::clone(&delta))
    }
}

fn open(spec: &Base, base: &Arc<MemStorage>, delta: &Arc<MemStorage>) -> Stack {
    let base: Arc<dyn Storage> = Arc::clone(base) as _;
    Stack::from_storages(spec, base, &[], Some(Arc::clone(delta) as _)).unwrap()
}

/// What a cut after the first `cut` events leaves: what is durable, and what may be.
pub(super) fn at_cut(start: &Image, log: &[Event], cut: usize) -> (Image, Vec<(u64, Sector)>) {
    let synced = log[..cut].iter().filter_map(|event| match event {
        Event::Sync(covered) => Some(*covered),
        Event::Write(_) => None,
    });
    let synced = synced.max().unwrap_or(0);
    let mut durable = start.clone();
    let mut loose = Vec::new();
    for (index, event) in log[..cut].iter().enumerate() {
        match event {
            Event::Write(sectors) if index < synced => apply(&mut durable, sectors),
            Event::Write(sectors) => loose.extend(sectors.iter().copied()),
            Event::Sync(_) => {}
        }
    }
    (durable, loose)
}

pub(super) fn keep(durable: &Image, loose: &[(u64, Sector)], subset: &[bool]) -> Image {
    let mut image = durable.clone();
    let kept = loose.iter().zip(subset).filter(|(_, keep)| **keep);
    apply(&mut image, &kept.map(|(sector, _)| *sector).collect::<Vec<_>>());
    image
}
