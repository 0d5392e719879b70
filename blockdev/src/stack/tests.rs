//! A clone against a `Vec<u8>`, with both engines.

mod chain;

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::io::mem::MemStorage;
use crate::testing::{Clone, ENGINES, drain, pattern, read, run, writable, write};
use crate::{Buffers, ErrorKind, Op, Tag};

/// An operation on sectors of a disk, cut to its end.
#[derive(Clone, Debug)]
enum Step {
    Read(Range<u64>),
    Write(Range<u64>, u8),
    Zero(Range<u64>),
    Discard(Range<u64>),
    Flush,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let range = (0u64..200, 0u64..40).prop_map(|(start, len)| start..start + len);
    let blocks = (0u64..25, 0u64..5).prop_map(|(start, len)| start * 8..(start + len) * 8);
    let range = prop_oneof![range, blocks];
    prop_oneof![
        4 => range.clone().prop_map(Step::Read),
        6 => (range.clone(), any::<u8>()).prop_map(|(range, seed)| Step::Write(range, seed)),
        2 => range.clone().prop_map(Step::Zero),
        2 => range.prop_map(Step::Discard),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

/// The vector's bytes in pieces of odd lengths, as a guest's buffers come.
fn pieces(bytes: &[u8]) -> Buffers {
    Buffers::from_vecs(bytes.chunks(700).map(<[u8]>::to_vec).collect())
}

fn take(model: &mut [u8], disk: &mut dyn Disk, step: &Step) {
    let cut = |range: &Range<u64>| {
        let sectors = model.len() as u64 / 512;
        range.start.min(sectors) * 512..range.end.min(sectors) * 512
    };
    let within = |range: &Range<u64>| range.start as usize..range.end as usize;
    match step {
        Step::Read(range) => {
            let range = cut(range);
            let into = pieces(&vec![0xee; within(&range).len()]);
            let found = run(disk, Op::Read { at: range.start, into }).unwrap();
            assert!(found == model[within(&range)], "{range:?} differs");
        }
        Step::Write(range, seed) => {
            let range = cut(range);
            let bytes = pattern(within(&range).len(), *seed);
            run(disk, Op::Write { at: range.start, from: pieces(&bytes) }).unwrap();
            model[within(&range)].copy_from_slice(&bytes);
        }
        Step::Zero(range) | Step::Discard(range) => {
            let range = cut(range);
            let op = if matches!(step, Step::Zero(_)) { Op::Zero } else { Op::Discard };
            run(disk, op(range.clone())).unwrap();
            model[within(&range)].fill(0);
        }
        Step::Flush => drop(run(disk, Op::Flush).unwrap()),
        Step::Reopen => unreachable!("done by the caller"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_clone_is_like_a_vector(
        engine in prop::sample::select(&ENGINES[..]),
        base_len in 0usize..90_000,
        more_sectors in prop_oneof![Just(0u64), 0u64..64],
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let base = pattern(base_len, 3);
        let size = ((base_len as u64).div_ceil(512) + more_sectors).max(1) * 512;
        let mut model = base.clone();
        model.resize(size as usize, 0);
        let clone = Clone::new(&base, size);
        let mut stack = clone.open();
        let mut disk = stack.disk(engine).unwrap();
        prop_assert_eq!(disk.size(), size);
        for step in &steps {
            if matches!(step, Step::Reopen) {
                drop(disk);
                drop(stack);
                stack = clone.open();
                disk = stack.disk(engine).unwrap();
            } else {
                take(&mut model, &mut *disk, step);
            }
        }
        prop_assert!(read(&mut *disk, 0, model.len()).unwrap() == model);
        drop(disk);
        drop(stack);
        let mut disk = clone.open().disk(engine).unwrap();
        prop_assert!(read(&mut *disk, 0, model.len()).unwrap() == model, "after reopening");
    }
}

#[test]
fn a_base_alone_is_read_only_and_rounded_up() {
    let clone = Clone::new(&pattern(5000, 1), 8192);
    let spec = StackSpec { delta: None, ..clone.spec };
    for engine in ENGINES {
        let stack = Stack::open(&spec).unwrap();
        let mut disk = stack.disk(engine).unwrap();
        assert!(disk.read_only());
        assert_eq!(disk.size(), 5120);
        let mut expected = pattern(5000, 1);
        expected.resize(5120, 0);
        assert_eq!(read(&mut *disk, 0, 5120).unwrap(), expected);
        let refused = write(&mut *disk, 0, &[0; 512]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ReadOnly);
        run(&mut *disk, Op::Flush).unwrap();
    }
}

#[test]
fn operations_outside_the_disk_or_in_part_sectors_are_refused() {
    let clone = Clone::new(&pattern(8192, 1), 8192);
    for engine in ENGINES {
        let stack = clone.open();
        let mut disk = stack.disk(engine).unwrap();
        let buffers = |len| Buffers::from_vec(vec![0; len]);
        let bad = [
            Op::Read { at: 8192, into: buffers(512) },
            Op::Read { at: 1, into: buffers(512) },
            Op::Read { at: 0, into: buffers(511) },
            Op::Write { at: 7680, from: buffers(1024) },
            Op::Write { at: u64::MAX - 511, from: buffers(512) },
            Op::Write { at: 1 << 63, from: buffers(512) },
            Op::Zero(0..8704),
            Op::Discard(Range { start: 4096, end: 0 }),
            Op::Discard(0..u64::MAX),
        ];
        for op in bad {
            let what = format!("{op:?}");
            let error = run(&mut *disk, op).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{what}");
        }
        assert_eq!(read(&mut *disk, 0, 8192).unwrap(), pattern(8192, 1));
    }
}

#[test]
fn a_base_cut_off_while_it_is_read_is_an_error_for_that_read_alone() {
    for engine in ENGINES {
        let clone = Clone::new(&pattern(1 << 20, 1), 1 << 20);
        let stack = clone.open();
        let mut disk = stack.disk(engine).unwrap();
        let file = writable(&clone.base().path);
        file.set_len(4096).unwrap();
        let error = read(&mut *disk, 65536, 4096).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("base"), "{error}");
        assert_eq!(read(&mut *disk, 0, 4096).unwrap(), pattern(4096, 1)[..]);
        // A copy-up that cannot read fails as well, and takes no ownership.
        write(&mut *disk, 65536, &[1; 512]).unwrap_err();
        file.set_len(1 << 20).unwrap();
        assert_eq!(read(&mut *disk, 65536, 512).unwrap(), [0; 512]);
        write(&mut *disk, 65536, &[1; 512]).unwrap();
    }
}

#[test]
fn where_there_is_no_io_uring_another_engine_is_taken_unless_it_was_asked_for() {
    let clone = Clone::new(&pattern(8192, 1), 8192);
    // Storage without a file descriptor is to io_uring what a host is that forbids it.
    let base = Arc::new(MemStorage::from_bytes(&pattern(8192, 1)));
    let stack = Stack::from_storages(clone.base(), base, &[], None).unwrap();
    let mut disk = stack.disk(Engine::Auto).unwrap();
    assert_eq!(read(&mut *disk, 0, 8192).unwrap(), pattern(8192, 1));
    let refused = stack.disk(Engine::Uring).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    for errno in [libc::ENOSYS, libc::EPERM, libc::ENOMEM] {
        assert!(not_allowed(&io::Error::from_raw_os_error(errno)));
    }
    assert!(!not_allowed(&io::Error::from_raw_os_error(libc::EMFILE)));
}

#[test]
fn many_operations_in_flight_on_two_queues_all_come_back() {
    let size = 4 << 20;
    let clone = Clone::new(&pattern(size, 1), size as u64);
    for engine in ENGINES {
        let stack = clone.open();
        let mut disks = [stack.disk(engine).unwrap(), stack.disk(engine).unwrap()];
        for tag in 0..600u64 {
            // Both queues take ownership of the same blocks, in part and whole.
            let at = tag / 4 * 4096;
            let (at, len) = if tag % 3 == 0 { (at + 512, 1024) } else { (at, 4096) };
            let from = Buffers::from_vec(vec![0xaa; len]);
            disks[tag as usize % 2].submit(Op::Write { at, from }, Tag(tag));
        }
        for disk in &mut disks {
            disk.submit(Op::Flush, Tag(1000));
        }
        let mut tags = Vec::new();
        let mut done = Vec::new();
        while disks.iter().any(|disk| disk.in_flight() > 0) {
            disks.iter_mut().for_each(|disk| disk.poll(&mut done).unwrap());
            tags.extend(done.drain(..).map(|done| done.result.map(|()| done.tag.0).unwrap()));
        }
        tags.sort_unstable();
        assert_eq!(tags, (0..600).chain([1000, 1000]).collect::<Vec<_>>());
        let found = read(&mut *disks[0], 0, 150 * 4096).unwrap();
        for (block, found) in found.chunks(4096).enumerate() {
            // Of 4 writes to a block one or two are partial; the others cover it.
            assert_eq!(found, [0xaa; 4096], "block {block}");
        }
    }
}

#[test]
fn a_disk_dropped_with_operations_in_flight_has_done_them() {
    let clone = Clone::new(&pattern(1 << 20, 1), 1 << 20);
    let stack = clone.open();
    let mut disk = stack.disk(Engine::Uring).unwrap();
    for block in 0..100u64 {
        let from = Buffers::from_vec(vec![block as u8; 4096]);
        disk.submit(Op::Write { at: block * 4096, from }, Tag(block));
    }
    disk.poll(&mut Vec::new()).unwrap();
    drop(disk);
    let mut disk = stack.disk(Engine::Sync).unwrap();
    let found = read(&mut *disk, 0, 100 * 4096).unwrap();
    for (block, found) in found.chunks(4096).enumerate() {
        assert_eq!(found, vec![block as u8; 4096]);
    }
}

#[test]
fn disks_that_are_gone_take_no_memory() {
    let stack = Clone::new(&[7; 4096], 8192).open();
    for engine in ENGINES.into_iter().cycle().take(100) {
        drop(stack.disk(engine).unwrap());
    }
    assert_eq!(stack.current.watchers(), 1, "the last one, until the next comes");
}

#[test]
fn fragmented_reads_longer_than_the_ring_are_complete() {
    let size = 2 << 20;
    let clone = Clone::new(&pattern(size, 1), size as u64);
    let mut expected = pattern(size, 1);
    for engine in ENGINES {
        let stack = clone.open();
        let mut disk = stack.disk(engine).unwrap();
        for block in (0..512usize).step_by(2) {
            disk.submit(
                Op::Write { at: block as u64 * 4096, from: Buffers::from_vec(vec![9; 4096]) },
                Tag(0),
            );
            expected[block * 4096..][..4096].fill(9);
        }
        assert!(drain(&mut *disk).iter().all(|done| done.result.is_ok()));
        let into = Buffers::from_vecs(vec![vec![0; 512]; size / 512]);
        assert!(run(&mut *disk, Op::Read { at: 0, into }).unwrap() == expected);
    }
}
