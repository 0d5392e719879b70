//! Operations against a `Vec<u8>` for each layer, alone and beside a guest.

use std::fs::{File, Permissions};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::base::{Base, import_from};
use crate::delta::{Parent, State, create, freeze, inspect, thaw};
use crate::sealed::{Owned, Reader, apply, seal};
use crate::testing::{Clone, ENGINES, drain, import, over, pattern, read, run, write};
use crate::{Buffers, Disk, Engine, Error, ErrorKind, Extent, Op, Stack, StackSpec, Tag};

mod absorb;

fn go(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A chain of frozen layers below a delta, and what each is to read as.
struct Chain {
    clone: Clone,
    /// Of the base, each frozen layer and the delta, from the bottom up.
    models: Vec<Vec<u8>>,
    other: Base,
    made: usize,
}

impl Chain {
    fn new(base: &[u8], size: u64) -> Chain {
        let clone = Clone::new(base, size);
        // Shorter than the base in half of all cases, alike here and there.
        let mut other = pattern((base.len() * 7919 % (base.len() * 2 + 1)).max(1), 77);
        let same = other.len().min(base.len()) / 8192 * 4096;
        other[..same].copy_from_slice(&base[..same]);
        let other = import(&clone.dir, "other", &other);
        let mut model = base.to_vec();
        model.resize(size as usize, 0);
        Chain { clone, models: vec![model.clone(), model], other, made: 0 }
    }

    fn spec(&self) -> &StackSpec {
        &self.clone.spec
    }

    fn top(&mut self) -> &mut Vec<u8> {
        self.models.last_mut().unwrap()
    }

    fn snapshot(&mut self, more: u64) {
        self.made += 1;
        let old = self.clone.delta();
        freeze(&old).unwrap();
        let info = inspect(&old).unwrap();
        let new = self.clone.dir.path().join(format!("delta-{}", self.made));
        create(&new, info.size + more, &info.as_parent()).unwrap();
        self.clone.spec.frozen.push(old);
        self.clone.spec.delta = Some(new);
        let mut model = self.top().clone();
        model.resize((info.size + more) as usize, 0);
        self.models.push(model);
    }

    fn disk(&self, engine: Engine) -> Box<dyn Disk> {
        self.clone.open().disk(engine).unwrap()
    }

    /// What is below layer `index` of the frozen ones, or the delta.
    fn below(&self, index: usize) -> StackSpec {
        let frozen = self.spec().frozen[..index].to_vec();
        StackSpec { frozen, delta: None, owners: None, ..self.spec().clone() }
    }

    /// Merges frozen layer `index` into the one above it.
    fn remove(&mut self, index: usize) {
        let below = self.below(index);
        if index + 1 == self.spec().frozen.len() {
            self.clone.open().rebase(&below, Pace::Full, &mut go).unwrap();
        } else {
            let child = self.spec().frozen[index + 1].clone();
            let spec = StackSpec { delta: Some(child), ..self.below(index + 1) };
            rebase_frozen(&spec, &below, Pace::Full, &mut go).unwrap();
        }
        self.clone.spec.frozen.remove(index);
        self.models.remove(index + 1);
    }

    /// Puts the delta on the base it does not stand on.
    fn rebase(&mut self) {
        let below = over(self.other.clone(), None);
        self.clone.open().rebase(&below, Pace::Full, &mut go).unwrap();
        self.other = self.spec().base.clone().unwrap_or(self.other.clone());
        self.stand_on(below, self.clone.delta());
    }

    /// From now on the disk is `delta` on `below`.
    fn stand_on(&mut self, below: StackSpec, delta: PathBuf) {
        self.models.drain(1..self.models.len() - 1);
        self.clone.spec = StackSpec { delta: Some(delta), ..below };
    }

    /// A path for a new file.
    fn new_path(&mut self, name: &str) -> PathBuf {
        self.made += 1;
        self.clone.dir.path().join(format!("{name}-{}", self.made))
    }

    /// Packs the disk and goes on with a delta made of that.
    fn attach(&mut self) {
        let mut packed = Vec::new();
        let source = Owned::open(self.spec()).unwrap();
        seal(&source, b"", &mut packed, "packed".as_ref(), &mut |_, _| ()).unwrap();
        drop(source);
        let mut reader = Reader::open(&packed[..], "packed".as_ref()).unwrap();
        let header = reader.header().clone();
        let base = self.spec().base.clone();
        let parent = base.as_ref().map_or_else(Parent::nothing, |base| {
            let visible = header.base.as_ref().unwrap().visible;
            Parent { visible, ..Parent::base(&base.identity).unwrap() }
        });
        let delta = self.new_path("attached");
        create(&delta, header.size, &parent).unwrap();
        self.stand_on(StackSpec { base, ..StackSpec::default() }, delta);
        apply(&mut reader, &self.clone.open(), &mut |_| ()).unwrap();
    }

    /// Copies the disk and goes on with a delta that stands on the copy.
    fn import(&mut self) {
        let path = self.new_path("base");
        let source = self.clone.open().source().unwrap();
        let identity = import_from(source, &path, &mut go).unwrap();
        let (base, delta) = (Base { path, identity }, self.new_path("delta"));
        create(&delta, base.identity.size, &Parent::base(&base.identity).unwrap()).unwrap();
        self.stand_on(over(base, None), delta);
    }

    /// Merges the delta into the topmost frozen layer.
    fn commit(&mut self) {
        let parent = self.spec().frozen.last().unwrap().clone();
        absorb(&parent, &self.clone.delta(), Pace::Full, &mut go).unwrap();
        // A child that is still there reads the same on it.
        self.check(Engine::Sync);
        self.clone.spec.frozen.pop();
        self.clone.spec.delta = Some(parent.clone());
        self.models.remove(self.models.len() - 2);
        thaw(&parent).unwrap();
        self.check(Engine::Sync);
    }

    /// Merges the topmost frozen layer into the one below it.
    fn merge(&mut self) {
        self.clone.open().commit(self.spec(), Pace::Full, &mut go).unwrap();
        self.clone.spec.frozen.pop();
        self.models.remove(self.models.len() - 3);
    }

    /// That the delta and every frozen layer read as they should.
    fn check(&self, engine: Engine) {
        let found = read(&mut *self.disk(engine), 0, self.models.last().unwrap().len()).unwrap();
        assert!(found == *self.models.last().unwrap(), "the delta of {:?}", self.spec());
    }

    fn check_all(&self, engine: Engine) {
        self.check(engine);
        for index in 0..self.spec().frozen.len() {
            let stack = Stack::open(&self.below(index + 1)).unwrap();
            let model = &self.models[index + 1];
            let found = read(&mut *stack.disk(engine).unwrap(), 0, model.len()).unwrap();
            assert!(found == *model, "frozen layer {index} of {:?}", self.spec());
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u64, u8),
    Zero(u64, u64),
    Snapshot(u64),
    Remove(usize),
    /// The delta into the topmost frozen layer, which takes its place.
    Commit,
    /// The topmost frozen layer into the one below it.
    Merge,
    Flatten,
    /// Onto the base it does not stand on.
    Rebase,
    /// Packed, and made again of that.
    Attach,
    /// Copied, to be the base of an empty delta.
    Import,
    Resize(u64),
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..200, 1u64..40, any::<u8>()).prop_map(|(at, len, seed)| Step::Write(at, len, seed)),
        2 => (0u64..200, 1u64..40).prop_map(|(at, len)| Step::Zero(at, len)),
        4 => (0u64..20).prop_map(Step::Snapshot),
        2 => any::<usize>().prop_map(Step::Remove),
        2 => Just(Step::Commit),
        2 => Just(Step::Merge),
        1 => Just(Step::Flatten),
        2 => Just(Step::Rebase),
        1 => Just(Step::Attach),
        1 => Just(Step::Import),
        2 => (1u64..260).prop_map(Step::Resize),
        1 => Just(Step::Compact),
    ]
}

fn take(chain: &mut Chain, engine: Engine, step: &Step) {
    let sectors = chain.top().len() as u64 / 512;
    let cut = |at: u64, len: u64| {
        at.min(sectors - 1) * 512..(at + len).min(sectors).max(at.min(sectors - 1) + 1) * 512
    };
    let depth = chain.spec().frozen.len();
    match *step {
        Step::Write(at, len, seed) => {
            let range = cut(at, len);
            let bytes = pattern((range.end - range.start) as usize, seed);
            write(&mut *chain.disk(engine), range.start, &bytes).unwrap();
            chain.top()[range.start as usize..range.end as usize].copy_from_slice(&bytes);
        }
        Step::Zero(at, len) => {
            let range = cut(at, len);
            run(&mut *chain.disk(engine), Op::Zero(range.clone())).unwrap();
            chain.top()[range.start as usize..range.end as usize].fill(0);
        }
        Step::Snapshot(more) => chain.snapshot(more * 512),
        Step::Remove(index) if depth > 0 => chain.remove(index % depth),
        Step::Commit if depth > 0 => chain.commit(),
        Step::Merge if depth > 1 => chain.merge(),
        Step::Flatten => {
            chain.clone.open().flatten(Pace::Full, &mut go).unwrap();
            chain.models.drain(..chain.models.len() - 1);
            chain.models.insert(0, Vec::new());
            chain.clone.spec.frozen.clear();
            chain.clone.spec.base = None;
        }
        Step::Rebase => chain.rebase(),
        Step::Attach => chain.attach(),
        Step::Import => chain.import(),
        Step::Resize(sectors) => {
            resize(&chain.clone.delta(), sectors * 512, true).unwrap();
            chain.top().resize(sectors as usize * 512, 0);
        }
        Step::Compact => {
            chain.clone.open().compact(Pace::Full, &mut go).unwrap();
        }
        Step::Remove(_) | Step::Commit | Step::Merge => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_layer_reads_as_its_vector_after_any_operations(
        engine in prop::sample::select(&ENGINES[..]),
        base_len in 0usize..90_000,
        steps in prop::collection::vec(step(), 1..24),
    ) {
        let size = (base_len as u64).div_ceil(512).max(1) * 512;
        let mut chain = Chain::new(&pattern(base_len, 3), size);
        for step in &steps {
            take(&mut chain, engine, step);
            chain.check(Engine::Sync);
        }
        chain.check_all(engine);
    }
}

/// A chain whose layers own a block in four each, over a base.
fn deep(depth: usize, blocks: u64) -> Chain {
    let mut chain = Chain::new(&pattern(blocks as usize * 4096, 1), blocks * 4096);
    for layer in 0..depth {
        for block in (layer as u64 % 4..blocks).step_by(4) {
            let bytes = vec![layer as u8 + 1; 4096];
            write(&mut *chain.disk(Engine::Sync), block * 4096, &bytes).unwrap();
            chain.top()[block as usize * 4096..][..4096].copy_from_slice(&bytes);
        }
        chain.snapshot(0);
    }
    chain
}

/// Runs `operation` on a stack while two queues write sectors; what they wrote must be there.
fn beside_a_guest(chain: &mut Chain, operation: impl FnOnce(&Stack)) {
    const ROUNDS: u64 = 30;
    let stack = chain.clone.open();
    let blocks = stack.size() / 4096;
    let guests: Vec<_> = (0..2u64)
        .map(|queue| {
            let mut disk = stack.disk(ENGINES[queue as usize]).unwrap();
            thread::spawn(move || {
                for round in 0..ROUNDS {
                    for block in (0..blocks).filter(|block| block % 3 == round % 3) {
                        let at = block * 4096 + queue * 512;
                        let from = Buffers::from_vec(vec![round as u8 + 100; 512]);
                        disk.submit(Op::Write { at, from }, Tag(0));
                    }
                    disk.submit(Op::Flush, Tag(1));
                    assert!(drain(&mut *disk).iter().all(|done| done.result.is_ok()));
                }
            })
        })
        .collect();
    operation(&stack);
    guests.into_iter().for_each(|guest| guest.join().unwrap());
    for block in 0..blocks as usize {
        let last = (0..ROUNDS).rfind(|round| block as u64 % 3 == round % 3).unwrap();
        chain.top()[block * 4096..][..1024].fill(last as u8 + 100);
    }
    let found = read(&mut *stack.disk(Engine::Sync).unwrap(), 0, chain.top().len()).unwrap();
    assert!(found == *chain.top());
}

#[test]
fn a_running_disk_is_flattened_and_then_needs_nothing_below() {
    let mut chain = deep(3, 128);
    beside_a_guest(&mut chain, |stack| stack.flatten(Pace::Beside, &mut go).unwrap());
    for path in &chain.spec().frozen {
        // Idle disks have let go of it, too: nobody holds its lock.
        crate::delta::thaw(path).unwrap();
        std::fs::remove_file(path).unwrap();
    }
    chain.clone.spec = StackSpec { delta: chain.spec().delta.clone(), ..StackSpec::default() };
    chain.check(Engine::Uring);
}

#[test]
fn a_base_that_was_cut_off_fails_the_operation_and_not_the_disk() {
    let clone = Clone::new(&pattern(1 << 20, 3), 1 << 20);
    let stack = clone.open();
    let base = &clone.base().path;
    std::fs::set_permissions(base, Permissions::from_mode(0o600)).unwrap();
    File::options().write(true).open(base).unwrap().set_len(512 << 10).unwrap();
    assert_eq!(stack.extent(0..512 << 10).unwrap(), (Extent::Data, 512 << 10));
    for error in [
        stack.extent(600 << 10..1 << 20).unwrap_err(),
        stack.flatten(Pace::Full, &mut go).unwrap_err(),
    ] {
        assert!(matches!(&error, Error::Read { path, .. } if path == base), "{error:?}");
    }
    let mut disk = stack.disk(Engine::Sync).unwrap();
    write(&mut *disk, 600 << 10, &[1; 4096]).unwrap();
    run(&mut *disk, Op::Flush).unwrap();
}

#[test]
fn a_layer_below_a_running_disk_is_removed() {
    let mut chain = deep(3, 128);
    let below = chain.below(2);
    beside_a_guest(&mut chain, |stack| stack.rebase(&below, Pace::Beside, &mut go).unwrap());
    chain.clone.spec.frozen.pop();
    chain.models.remove(3);
    chain.check_all(Engine::Uring);
}

#[test]
fn a_running_disk_is_compacted() {
    let mut chain = Chain::new(&[], 512 * 4096);
    write(&mut *chain.disk(Engine::Sync), 0, &vec![0; 512 * 4096]).unwrap();
    let before = inspect(&chain.clone.delta()).unwrap().bytes_on_disk;
    beside_a_guest(&mut chain, |stack| {
        stack.compact(Pace::Beside, &mut go).unwrap();
    });
    chain.check(Engine::Uring);
    let stack = chain.clone.open();
    write(&mut *stack.disk(Engine::Sync).unwrap(), 0, &vec![0; 512 * 4096]).unwrap();
    assert_eq!(stack.compact(Pace::Full, &mut go).unwrap(), 512 * 4096);
    let after = inspect(&chain.clone.delta()).unwrap().bytes_on_disk;
    assert!(after < before / 4, "{after} of {before} bytes are left");
}

#[test]
fn others_read_a_frozen_layer_while_the_one_below_is_merged_into_it() {
    let mut chain = deep(3, 64);
    let mut reader = chain.disk(Engine::Uring);
    chain.remove(1);
    chain.remove(0);
    let model = chain.models.last().unwrap().clone();
    assert!(read(&mut *reader, 0, model.len()).unwrap() == model);
    drop(reader);
    chain.check_all(Engine::Sync);
}

#[test]
fn an_interrupted_operation_changes_nothing_and_can_be_begun_again() {
    let mut chain = deep(3, 1024);
    for stop in [1, 3] {
        let mut left = stop;
        let mut watch = |_, _| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let stopped = chain.clone.open().flatten(Pace::Full, &mut watch).unwrap_err();
        assert!(matches!(stopped, Error::Interrupted), "{stopped}");
        chain.check_all(Engine::Sync);
    }
    let (parent, child) = (chain.spec().frozen[2].clone(), chain.clone.delta());
    write(&mut *chain.disk(Engine::Sync), 0, &[9; 8192]).unwrap();
    chain.top()[..8192].fill(9);
    let stopped = absorb(&parent, &child, Pace::Full, &mut |_, _| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(Error::Interrupted)));
    chain.check(Engine::Sync);
    // By itself it is neither what it was nor what it will be.
    let alone = Stack::open(&chain.below(3)).unwrap_err();
    assert_eq!(alone.kind(), ErrorKind::Integrity);
    assert!(alone.to_string().contains("has not ended"), "{alone}");
    chain.commit();
    chain.check_all(Engine::Sync);
}

#[test]
fn a_disk_made_smaller_and_larger_again_has_lost_what_was_behind() {
    let mut chain = Chain::new(&pattern(40_960, 1), 40_960);
    write(&mut *chain.disk(Engine::Sync), 20_480, &[5; 8192]).unwrap();
    let path = chain.clone.delta();
    assert_eq!(resize(&path, 21_504, false).unwrap_err().kind(), ErrorKind::Invalid);
    resize(&path, 21_504, true).unwrap();
    resize(&path, 81_920, false).unwrap();
    let found = read(&mut *chain.disk(Engine::Sync), 0, 81_920).unwrap();
    assert_eq!(found[20_480..21_504], [5; 1024]);
    assert!(found[21_504..].iter().all(|&byte| byte == 0));
    assert_eq!(resize(&path, 1 << 45, false).unwrap_err().kind(), ErrorKind::Invalid);
    chain.top().clear();
}

#[test]
fn a_disk_in_use_grows_and_its_snapshots_keep_their_length() {
    for engine in ENGINES {
        let mut chain = Chain::new(&pattern(20_000, 1), 20_480);
        let stack = chain.clone.open();
        let mut disk = stack.disk(engine).unwrap();
        write(&mut *disk, 16_384, &[7; 4096]).unwrap();
        for size in [8192, 2 << 30] {
            assert_eq!(stack.grow(size).unwrap_err().kind(), ErrorKind::Invalid);
        }
        // Past what the bitmap's first sectors speak of.
        stack.grow(64 << 20).unwrap();
        disk.poll(&mut Vec::new()).unwrap();
        assert_eq!((disk.size(), stack.size()), (64 << 20, 64 << 20));
        write(&mut *disk, (64 << 20) - 8192, &[9; 4096]).unwrap();
        run(&mut *disk, Op::Flush).unwrap();
        let top = chain.top();
        top[16_384..].fill(7);
        top.resize(64 << 20, 0);
        top[(64 << 20) - 8192..(64 << 20) - 4096].fill(9);
        assert!(read(&mut *disk, 0, 64 << 20).unwrap() == *chain.top());
        drop((disk, stack));
        chain.check(engine);
        chain.snapshot(512);
        chain.check_all(engine);
    }
}
