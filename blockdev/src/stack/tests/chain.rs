//! Chains of layers: against a `Vec<u8>` for each point in time, and opened wrongly.

use std::collections::BTreeMap;
use std::fs;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::delta::{self, State, create, inspect};
use crate::testing::{Clone, ENGINES, pattern, read, run, write};

/// A clone with the means to grow.
struct Line {
    clone: Clone,
    made: usize,
}

impl Line {
    fn new(base: &[u8], size: u64) -> Line {
        let mut clone = Clone::new(base, size);
        clone.spec.owners = Some(clone.dir.path().join("owners"));
        Line { clone, made: 0 }
    }

    /// Makes a delta on the top one, `more` bytes longer, and says what the spec is then.
    fn grown(&mut self, more: u64) -> StackSpec {
        self.made += 1;
        let old = self.clone.delta();
        let info = inspect(&old).unwrap();
        let new = self.clone.dir.path().join(format!("delta-{}", self.made));
        create(&new, info.size + more, &info.as_parent()).unwrap();
        let mut spec = self.clone.spec.clone();
        spec.frozen.push(old);
        spec.delta = Some(new);
        spec
    }

    /// As a snapshot of a running machine.
    fn snapshot(&mut self, stack: &Stack, more: u64) {
        let spec = self.grown(more);
        stack.snapshot(spec.delta.as_ref().unwrap()).unwrap();
        self.clone.spec = spec;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_point_in_time_of_a_chain_is_like_its_vector(
        engine in prop::sample::select(&ENGINES[..]),
        base_len in 0usize..90_000,
        lives in prop::collection::vec(
            (prop::collection::vec(step(), 1..12), 0u64..20, any::<bool>()), 1..7),
    ) {
        let base = pattern(base_len, 3);
        let size = (base_len as u64).div_ceil(512).max(1) * 512;
        let mut model = base.clone();
        model.resize(size as usize, 0);
        let mut line = Line::new(&base, size);
        let mut past = BTreeMap::new();
        let mut stack = line.clone.open();
        let mut disk = stack.disk(engine).unwrap();
        for (steps, more, map) in &lives {
            for step in steps {
                if matches!(step, Step::Reopen) {
                    drop((disk, stack));
                    if !map {
                        let _ = fs::remove_file(line.clone.spec.owners.as_ref().unwrap());
                    }
                    stack = line.clone.open();
                    disk = stack.disk(engine).unwrap();
                } else {
                    take(&mut model, &mut *disk, step);
                }
            }
            line.snapshot(&stack, more * 512);
            past.insert(line.clone.spec.frozen.len(), model.clone());
            model.resize(model.len() + *more as usize * 512, 0);
            if *more > 0 {
                // A disk in use keeps its length; the next start sees the new one.
                drop((disk, stack));
                stack = line.clone.open();
                disk = stack.disk(engine).unwrap();
            }
        }
        prop_assert!(read(&mut *disk, 0, model.len()).unwrap() == model);
        drop((disk, stack));
        let mut disk = line.clone.open().disk(engine).unwrap();
        prop_assert!(read(&mut *disk, 0, model.len()).unwrap() == model, "after reopening");
        for (depth, model) in past {
            let frozen = line.clone.spec.frozen[..depth].to_vec();
            let spec = StackSpec { frozen, delta: None, owners: None, ..line.clone.spec.clone() };
            let mut disk = Stack::open(&spec).unwrap().disk(engine).unwrap();
            prop_assert!(disk.read_only());
            prop_assert!(read(&mut *disk, 0, model.len()).unwrap() == model, "depth {depth}");
        }
    }
}

#[test]
fn two_clones_of_a_snapshot_run_at_once_and_do_not_see_each_other() {
    let mut line = Line::new(&pattern(40_960, 1), 40_960);
    let stack = line.clone.open();
    let mut parent = stack.disk(Engine::Sync).unwrap();
    write(&mut *parent, 0, &[1; 4096]).unwrap();
    line.snapshot(&stack, 0);
    // The parent runs on while its clone starts.
    let frozen = line.clone.spec.frozen.clone();
    let delta = line.clone.dir.path().join("sibling");
    create(&delta, 40_960, &inspect(&frozen[0]).unwrap().as_parent()).unwrap();
    let spec = StackSpec { frozen, delta: Some(delta), ..line.clone.spec.clone() };
    let mut child = Stack::open(&spec).unwrap().disk(Engine::Sync).unwrap();
    write(&mut *parent, 4096, &[2; 4096]).unwrap();
    write(&mut *child, 8192, &[3; 4096]).unwrap();
    let base = pattern(40_960, 1);
    let found = |disk: &mut dyn Disk| read(disk, 0, 12_288).unwrap();
    assert!(found(&mut *parent) == [&[1; 4096], &[2; 4096], &base[8192..12_288]].concat());
    assert!(found(&mut *child) == [&[1; 4096], &base[4096..8192], &[3; 4096]].concat());
}

#[test]
fn snapshots_under_load_lose_nothing_and_keep_a_point_in_time() {
    const BLOCKS: u64 = 512;
    for engine in ENGINES {
        let mut line = Line::new(&[], BLOCKS * 4096);
        let stack = line.clone.open();
        let writers: Vec<_> = (0..2u64)
            .map(|queue| {
                let mut disk = stack.disk(engine).unwrap();
                thread::spawn(move || {
                    // Sub-block writes: each copies up what the layers below have of its block.
                    for round in 0..24u64 {
                        for block in 0..BLOCKS {
                            let at = block * 4096 + queue * 2048 + round % 4 * 512;
                            let from = Buffers::from_vec(vec![round as u8 + 1; 512]);
                            disk.submit(Op::Write { at, from }, Tag(block));
                        }
                        let done = drain(&mut *disk);
                        assert!(done.iter().all(|done| done.result.is_ok()));
                    }
                })
            })
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) && line.made < 200 {
            line.snapshot(&stack, 0);
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let expected: Vec<u8> = (0..8u8).map(|sector| 21 + sector % 4).collect();
        let check = |stack: &Stack| {
            let mut disk = stack.disk(engine).unwrap();
            for block in 0..BLOCKS {
                let found = read(&mut *disk, block * 4096, 4096).unwrap();
                let found: Vec<u8> = found.chunks(512).map(|sector| sector[0]).collect();
                assert_eq!(found, expected, "block {block} after {} snapshots", line.made);
            }
        };
        check(&stack);
        drop(stack);
        check(&line.clone.open());
        for layer in &line.clone.spec.frozen {
            assert_eq!(inspect(layer).unwrap().state, State::Frozen);
        }
    }
}

#[test]
fn chains_that_do_not_belong_together_are_refused_with_both_names() {
    let mut line = Line::new(&pattern(8192, 1), 8192);
    for _ in 0..3 {
        let stack = line.clone.open();
        line.snapshot(&stack, 0);
    }
    let good = line.clone.spec.clone();
    let frozen = |order: &[usize]| -> Vec<_> {
        order.iter().map(|&index| good.frozen[index].clone()).collect()
    };
    let wrong = [&[0, 1][..], &[1, 2], &[0, 2, 1], &[0, 0, 1, 2], &[0, 1, 2, 2], &[]];
    for order in wrong {
        let spec = StackSpec { frozen: frozen(order), ..good.clone() };
        let error = Stack::open(&spec).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{order:?}: {error}");
        assert!(error.to_string().contains("was not made on"), "{order:?}: {error}");
    }
    let spec = StackSpec { frozen: vec![good.frozen[0].clone(); 10_000], ..good.clone() };
    let error = Stack::open(&spec).unwrap_err().to_string();
    assert!(error.contains("10000 layers"), "{error}");
    let spec = StackSpec { base: None, ..good.clone() };
    assert!(Stack::open(&spec).unwrap_err().to_string().contains("nothing"));
    let live = StackSpec { frozen: frozen(&[0]), delta: Some(good.frozen[1].clone()), ..good };
    let error = Stack::open(&live).unwrap_err();
    assert!(error.to_string().contains("is frozen"), "{error}");
}

#[test]
fn a_snapshot_onto_the_wrong_delta_changes_nothing() {
    let mut line = Line::new(&pattern(8192, 1), 8192);
    let stranger = Clone::new(&pattern(8192, 2), 8192);
    let stack = line.clone.open();
    let mut disk = stack.disk(Engine::Uring).unwrap();
    let error = stack.snapshot(&stranger.delta()).unwrap_err();
    assert!(error.to_string().contains("was not made on"), "{error}");
    let spec = line.grown(0);
    let full = spec.delta.as_ref().unwrap();
    let other =
        Stack::open(&StackSpec { frozen: Vec::new(), base: None, delta: None, ..spec.clone() });
    assert!(other.is_err(), "a stack of nothing");
    write(&mut *disk, 0, &[7; 4096]).unwrap();
    run(&mut *disk, Op::Flush).unwrap();
    assert_eq!(inspect(&line.clone.delta()).unwrap().state, State::Live);
    stack.snapshot(full).unwrap();
    assert_eq!(read(&mut *disk, 0, 4096).unwrap(), [7; 4096]);
}

#[test]
fn a_parent_whose_freeze_a_crash_interrupted_still_carries_its_child() {
    let mut line = Line::new(&pattern(8192, 1), 8192);
    {
        let stack = line.clone.open();
        let mut disk = stack.disk(Engine::Sync).unwrap();
        write(&mut *disk, 0, &[7; 4096]).unwrap();
    }
    // The new delta is in its place, the old one's header does not say frozen yet.
    line.clone.spec = line.grown(0);
    let mut disk = line.clone.open().disk(Engine::Sync).unwrap();
    assert_eq!(read(&mut *disk, 0, 4096).unwrap(), [7; 4096]);
    delta::freeze(&line.clone.spec.frozen[0]).unwrap_err();
}

#[test]
fn what_is_written_to_an_ephemeral_stack_is_gone_with_it_however_often_it_was_flushed() {
    let base = pattern(40_960, 3);
    for engine in ENGINES {
        let mut clone = Clone::new(&base, 40_960);
        clone.spec.ephemeral = true;
        let stack = clone.open();
        let mut disk = stack.disk(engine).unwrap();
        write(&mut *disk, 4096, &[7; 8192]).unwrap();
        run(&mut *disk, Op::Flush).unwrap();
        stack.flush().unwrap();
        assert!(read(&mut *disk, 4096, 8192).unwrap() == [7; 8192]);
        drop((disk, stack));
        assert_eq!(inspect(&clone.delta()).unwrap().owned_blocks, 0);
        let found = read(&mut *clone.open().disk(engine).unwrap(), 0, 40_960).unwrap();
        assert!(found == base);
    }
}

#[test]
fn a_snapshot_of_an_ephemeral_stack_stays_and_what_comes_after_goes() {
    for engine in ENGINES {
        let mut line = Line::new(&pattern(40_960, 3), 40_960);
        line.clone.spec.ephemeral = true;
        let stack = line.clone.open();
        let mut disk = stack.disk(engine).unwrap();
        write(&mut *disk, 4096, &[7; 8192]).unwrap();
        line.snapshot(&stack, 0);
        write(&mut *disk, 8192, &[8; 4096]).unwrap();
        run(&mut *disk, Op::Flush).unwrap();
        drop((disk, stack));
        let found = read(&mut *line.clone.open().disk(engine).unwrap(), 4096, 8192).unwrap();
        assert!(found == [7; 8192]);
    }
}

#[test]
fn an_ephemeral_stack_that_is_flattened_keeps_what_it_had_then() {
    let mut clone = Clone::new(&pattern(40_960, 3), 40_960);
    clone.spec.ephemeral = true;
    let stack = clone.open();
    let mut disk = stack.disk(Engine::Sync).unwrap();
    write(&mut *disk, 4096, &[7; 4096]).unwrap();
    let whole = read(&mut *disk, 0, 40_960).unwrap();
    stack.flatten(crate::Pace::Full, &mut |_, _| std::ops::ControlFlow::Continue(())).unwrap();
    drop((disk, stack));
    let alone = StackSpec { delta: clone.spec.delta.clone(), ..StackSpec::default() };
    let stack = Stack::open(&alone).unwrap();
    let found = read(&mut *stack.disk(Engine::Sync).unwrap(), 0, 40_960).unwrap();
    assert!(found == whole);
}

#[test]
fn a_delta_made_anew_is_the_same_but_empty() {
    let clone = Clone::new(&pattern(40_960, 3), 45_056);
    let before = delta::heading(&clone.delta()).unwrap();
    write(&mut *clone.open().disk(Engine::Sync).unwrap(), 0, &[7; 8192]).unwrap();
    let anew = clone.dir.path().join("anew");
    delta::create_anew(&anew, &before).unwrap();
    let after = inspect(&anew).unwrap();
    assert_eq!(delta::heading(&anew).unwrap(), before);
    assert_eq!(after.owned_blocks, 0);
}
