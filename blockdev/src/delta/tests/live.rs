//! Deltas in files: what they cost, and who may open them.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use uuid::Uuid;

use crate::base::{Base, Identity};
use crate::delta::{BLOCK, Delta, Parent, SECTOR_BLOCKS, create, create_in, inspect};
use crate::io::mem::{Call, Event, Fault, Image, Log, MemStorage};
use crate::testing::{Clone, ENGINES, pattern, read, run, write};
use crate::{Engine, ErrorKind, Op, Stack, StackSpec};

/// A sparse base of `size` bytes, whose digest nobody asks for.
fn sparse(size: u64) -> (tempfile::TempDir, Base) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("base");
    File::create(&path).unwrap().set_len(size).unwrap();
    let found = path.metadata().unwrap();
    let identity = Identity {
        uuid: Uuid::new_v4(),
        size,
        digest: blake3::hash(b"").to_hex().to_string(),
        mtime_ns: found.mtime() * 1_000_000_000 + found.mtime_nsec(),
        inode: found.ino(),
    };
    (dir, Base { path, identity })
}

#[test]
fn a_new_delta_takes_no_more_than_16_kib_whatever_its_size() {
    for size in [4096, 10 << 30, 1 << 40] {
        let (dir, base) = sparse(size);
        let path = dir.path().join("delta");
        let uuid = create(&path, size, &Parent::base(&base.identity).unwrap()).unwrap();
        let info = inspect(&path).unwrap();
        assert!(info.bytes_on_disk <= 16 << 10, "{} bytes for {size}", info.bytes_on_disk);
        assert_eq!((info.uuid, info.size, info.owned_blocks), (uuid, size, 0));
        assert_eq!(info.parent.uuid, base.identity.uuid);
        let stack = Stack::open(&crate::testing::over(base, Some(path))).unwrap();
        let mut disk = stack.disk(Engine::Sync).unwrap();
        assert_eq!(read(&mut *disk, size - 512, 512).unwrap(), [0; 512]);
    }
}

#[test]
fn a_delta_is_created_once_and_of_a_size_that_can_be() {
    let (dir, base) = sparse(8192);
    let path = dir.path().join("delta");
    for size in [0, 4096, 8193, 1 << 47, u64::MAX] {
        let error = create(&path, size, &Parent::base(&base.identity).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{size}");
        assert!(!path.exists());
    }
    create(&path, 8192, &Parent::base(&base.identity).unwrap()).unwrap();
    let before = std::fs::read(&path).unwrap();
    assert_eq!(
        create(&path, 8192, &Parent::base(&base.identity).unwrap()).unwrap_err().kind(),
        ErrorKind::Exists
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn inspecting_counts_owned_blocks_while_the_delta_is_in_use() {
    let clone = Clone::new(&pattern(40_000, 1), 65_536);
    let stack = clone.open();
    let mut disk = stack.disk(Engine::Sync).unwrap();
    write(&mut *disk, 512, &[1; 8192]).unwrap();
    run(&mut *disk, Op::Discard(61_440..65_536)).unwrap();
    assert_eq!(inspect(&clone.delta()).unwrap().owned_blocks, 0, "nothing is flushed yet");
    run(&mut *disk, Op::Flush).unwrap();
    assert_eq!(inspect(&clone.delta()).unwrap().owned_blocks, 4);
}

#[test]
fn closing_keeps_what_was_not_flushed() {
    let clone = Clone::new(&pattern(40_000, 1), 65_536);
    for (value, engine) in (1..).zip(ENGINES) {
        let stack = clone.open();
        let mut disk = stack.disk(engine).unwrap();
        write(&mut *disk, 4096, &[value; 512]).unwrap();
        drop((disk, stack));
        let mut disk = clone.open().disk(engine).unwrap();
        assert_eq!(read(&mut *disk, 4096, 512).unwrap(), [value; 512]);
    }
}

#[test]
fn one_base_is_read_by_many_at_once() {
    let clone = Clone::new(&pattern(40_000, 1), 65_536);
    let alone = StackSpec { delta: None, ..clone.spec.clone() };
    let stacks = [clone.open(), Stack::open(&alone).unwrap(), Stack::open(&alone).unwrap()];
    for stack in &stacks {
        let mut disk = stack.disk(Engine::Uring).unwrap();
        assert_eq!(read(&mut *disk, 0, 39_936).unwrap(), pattern(40_000, 1)[..39_936]);
    }
}

#[test]
fn blocks_of_many_bitmap_sectors_are_found_again() {
    let (_dir, base) = sparse(4096);
    let size = 20 * 4032 * 4096;
    let delta = MemStorage::default();
    create_in(&delta, size, &Parent::base(&base.identity).unwrap()).unwrap();
    let open = |(len, image)| {
        let base_storage = Arc::new(MemStorage::new(4096, Image::new()));
        let delta = Arc::new(MemStorage::new(len, image));
        (
            Stack::from_storages(&base, base_storage, &[], Some(Arc::clone(&delta) as _)).unwrap(),
            delta,
        )
    };
    // Across two sectors, alone in some, adjacent ones, the last block of the disk.
    let blocks = [4031, 4032, 3 * 4032, 4 * 4032, 5 * 4032 + 77, 9 * 4032 + 1, 20 * 4032 - 1];
    let (stack, delta) = open(delta.contents());
    let mut disk = stack.disk(Engine::Sync).unwrap();
    for (value, block) in (1..).zip(blocks) {
        write(&mut *disk, block * 4096, &[value; 4096]).unwrap();
        run(&mut *disk, Op::Zero((block - 1) * 4096..block * 4096)).unwrap();
        write(&mut *disk, block * 4096, &[value; 4096]).unwrap();
    }
    run(&mut *disk, Op::Flush).unwrap();
    let mut disk = open(delta.contents()).0.disk(Engine::Sync).unwrap();
    for (value, block) in (1..).zip(blocks) {
        let expected = if block == 4031 { 0 } else { value };
        assert_eq!(read(&mut *disk, block * 4096, 4096).unwrap(), [expected; 4096], "{block}");
    }
}

#[test]
fn opening_an_empty_delta_takes_the_same_few_calls_at_any_size() {
    for size in [1 << 20, 1 << 43] {
        let (_dir, base) = sparse(4096);
        let storage = Arc::new(MemStorage::default());
        create_in(&*storage, size, &Parent::base(&base.identity).unwrap()).unwrap();
        storage.fail(u64::MAX, Fault::Short);
        Delta::load("delta".as_ref(), Arc::clone(&storage) as _).unwrap();
        // The length, two copies of the header, one look for data in the bitmap.
        assert_eq!(storage.calls(), 4);
    }
}

#[test]
fn a_flush_of_a_whole_large_disk_takes_a_part_at_a_time_and_no_bit_before_its_data() {
    const FIRST: u64 = 8192 * SECTOR_BLOCKS * BLOCK;
    let log = Arc::new(Log::default());
    let storage = Arc::new(MemStorage::recorded(0, Arc::clone(&log), 0, Image::new()));
    create_in(&*storage, 200 << 30, &Parent::nothing()).unwrap();
    let delta = Arc::new(Delta::load("delta".as_ref(), storage.clone()).unwrap());
    let own = |delta: &Delta, range: Range<u64>| {
        delta.own(&range, &delta.wait_for_permit(&range).unwrap());
    };
    own(&delta, 0..FIRST + BLOCK);
    drop(log.take());
    // While the bits of the first part are written, one of the second part comes to be.
    let (bits, data) = (delta.header().sector_at(0) / 512, delta.offset(FIRST + BLOCK) / 512);
    let writer = Arc::downgrade(&delta);
    storage.trap(Call::Write(bits, bits + 1), 0, move || {
        let delta = writer.upgrade().unwrap();
        delta.store(&[7; 4096], FIRST + BLOCK).unwrap();
        own(&delta, FIRST + BLOCK..FIRST + 2 * BLOCK);
        Ok(())
    });
    delta.flush().unwrap();
    let records = log.take();
    let wrote = |sector: u64| {
        let is = |event: &Event| matches!(event, Event::Write(sectors) if sectors.iter().any(|(at, _)| *at == sector));
        records.iter().position(|record| is(&record.event)).unwrap()
    };
    let (data, bits) = (wrote(data), wrote(bits + 8192));
    let synced = records[..bits]
        .iter()
        .any(|record| matches!(record.event, Event::Sync(covered) if covered > data));
    assert!(synced, "{data} then {bits} of {records:?}");
    let last = records.last().map(|record| &record.event);
    assert!(matches!(last, Some(Event::Sync(_))), "{last:?}");
    assert!(!delta.bitmap().has_pending());
}
