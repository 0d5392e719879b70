//! What goes in comes out, the same bytes for the same content.

use std::path::Path;

use super::{Blocks, Reader, bytes_of, sealed, small, unsealed};
use crate::sealed::{Error, Owned, SETTINGS_MAX, Source, apply, seal};
use crate::testing::{Clone, pattern, read, run, write};
use crate::{Engine, ErrorKind, Op, Stack, StackSpec, delta};

#[test]
fn owned_blocks_come_back_and_no_others() {
    let blocks = Blocks::new(1 << 30).with(0..3, 1).with(3..700, 2).with(262_143..262_144, 3);
    assert_eq!(unsealed(&bytes_of(&blocks)).unwrap(), blocks.owned);
}

#[test]
fn nothing_owned_is_a_file_too() {
    let (bytes, summary) = sealed(&Blocks::new(512));
    assert!(unsealed(&bytes).unwrap().is_empty());
    assert_eq!((summary.data_blocks, summary.zero_blocks), (0, 0));
}

#[test]
fn header_and_settings_come_first_and_come_back() {
    let blocks = Blocks::new(1 << 20).with(0..1, 1);
    let bytes = bytes_of(&blocks);
    let reader = Reader::open(&bytes[..256 + 9], Path::new("in")).unwrap();
    assert_eq!(*reader.header(), blocks.header());
    assert_eq!(reader.settings(), b"cpus = 1\n");
}

#[test]
fn more_settings_than_the_limit_are_refused() {
    let settings = vec![0; SETTINGS_MAX + 1];
    let path = Path::new("out");
    let result = seal(&Blocks::new(512), &settings, &mut Vec::new(), path, &mut |_, _| ());
    assert!(matches!(result, Err(Error::Settings { len }) if len == SETTINGS_MAX + 1));
}

#[test]
fn zero_blocks_are_no_data_and_cost_nothing() {
    let (bytes, summary) = sealed(&Blocks::new(1 << 40).with(0..100_000, 0));
    assert_eq!((summary.data_blocks, summary.zero_blocks), (0, 100_000));
    assert!(bytes.len() < 1000, "{} bytes for one extent", bytes.len());
}

#[test]
fn scattered_blocks_share_chunks() {
    let mut blocks = Blocks::new(1 << 30);
    for block in (0..2048).step_by(2) {
        blocks = blocks.with(block..block + 1, block as u8 | 1);
    }
    let bytes = bytes_of(&blocks);
    let mut reader = Reader::open(&bytes[..], Path::new("in")).unwrap();
    let mut extents = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        extents.push(chunk.pieces().count());
    }
    assert_eq!(extents, [256; 4]);
}

#[test]
fn a_small_file_is_byte_for_byte_as_the_format_says() {
    let bytes = small();
    let text = |range: std::ops::Range<usize>| String::from_utf8_lossy(&bytes[range]).into_owned();
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!((text(0..8), text(265..269)), ("OFFSEALD".into(), "CHNK".into()));
    assert_eq!((number(32), number(40), number(48)), (9 * 4096 - 512, 5000, 4500));
    let trailer = bytes.len() - 104;
    assert_eq!(text(trailer..trailer + 8), "OFFSEALT");
    let index = usize::try_from(number(trailer + 8)).unwrap();
    assert_eq!(text(index..index + 4), "INDX");
    assert_eq!((number(index + 8), number(index + 48), number(index + 56)), (1, 1, 265));
    assert_eq!((number(trailer + 24), number(trailer + 32)), (4, 3));
    let covered = bytes.len() - 32;
    assert_eq!(bytes[covered..], *blake3::hash(&bytes[..covered]).as_bytes());
}

/// Writes blocks in this order to a new clone of the same base, and seals it.
fn written_in(order: &[u64]) -> (Clone, Vec<u8>) {
    let clone = Clone::new(&pattern(100_000, 1), 200_704);
    let stack = clone.open();
    let mut disk = stack.disk(Engine::Sync).unwrap();
    for &block in order {
        write(&mut *disk, block * 4096, &pattern(4096, block as u8)).unwrap();
    }
    drop((disk, stack));
    let bytes = bytes_of(&Owned::open(&clone.spec).unwrap());
    (clone, bytes)
}

#[test]
fn order_of_writing_and_uuid_do_not_show() {
    let (one, first) = written_in(&[3, 4, 40, 10]);
    let (other, second) = written_in(&[40, 10, 4, 3, 4]);
    let uuid = |clone: &Clone| delta::inspect(&clone.delta()).unwrap().uuid;
    assert_ne!(uuid(&one), uuid(&other));
    assert!(first == second);
}

#[test]
fn junk_and_written_zeroes_do_not_show() {
    let (clone, _) = written_in(&[3]);
    {
        let stack = clone.open();
        let mut disk = stack.disk(Engine::Sync).unwrap();
        write(&mut *disk, 5 * 4096, &[0; 8192]).unwrap();
    }
    let (other, _) = written_in(&[3]);
    {
        let stack = other.open();
        let mut disk = stack.disk(Engine::Sync).unwrap();
        run(&mut *disk, Op::Zero(5 * 4096..7 * 4096)).unwrap();
    }
    // Under a bit of 0: what a crash may leave.
    let file = crate::testing::writable(&other.delta());
    let data = (1 << 20) + 9 * 4096;
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xaa; 4096], data).unwrap();
    let of = |clone: &Clone| bytes_of(&Owned::open(&clone.spec).unwrap());
    assert!(of(&clone) == of(&other));
}

#[test]
fn other_content_has_another_name_and_settings_have_none() {
    let name = |blocks: &Blocks| sealed(blocks).1.content;
    let blocks = Blocks::new(1 << 20).with(1..2, 1);
    assert_eq!(name(&blocks), name(&blocks.clone()));
    assert_ne!(name(&blocks), name(&blocks.clone().with(1..2, 2)));
    assert_ne!(name(&blocks), name(&blocks.clone().with(5..6, 0)));
    let mut larger = blocks.clone();
    larger.size += 512;
    assert_ne!(name(&blocks), name(&larger));
    let path = Path::new("out");
    let renamed = seal(&blocks, b"cpus = 2\n", &mut Vec::new(), path, &mut |_, _| ()).unwrap();
    assert_eq!(renamed.content, name(&blocks));
}

/// A new delta on the base of `clone`, made from a sealed file.
fn attach(clone: &Clone, bytes: &[u8]) -> crate::sealed::Result<StackSpec> {
    let mut reader = Reader::open(bytes, Path::new("in"))?;
    let delta = clone.dir.path().join("attached");
    let parent = delta::Parent::base(&clone.base().identity)?;
    delta::create(&delta, reader.header().size, &parent)?;
    let spec = StackSpec { delta: Some(delta), ..clone.spec.clone() };
    apply(&mut reader, &Stack::open(&spec)?, &mut |_| ())?;
    Ok(spec)
}

#[test]
fn an_attached_delta_reads_as_the_one_that_was_sealed_and_seals_to_the_same_bytes() {
    let (clone, _) = written_in(&[0, 3, 24, 48]);
    {
        let stack = clone.open();
        let mut disk = stack.disk(Engine::Sync).unwrap();
        run(&mut *disk, Op::Discard(10 * 4096..20 * 4096)).unwrap();
    }
    let bytes = bytes_of(&Owned::open(&clone.spec).unwrap());
    let spec = attach(&clone, &bytes).unwrap();
    let content = |spec: &StackSpec| {
        let stack = Stack::open(spec).unwrap();
        let mut disk = stack.disk(Engine::Sync).unwrap();
        read(&mut *disk, 0, 200_704).unwrap()
    };
    assert!(content(&spec) == content(&clone.spec));
    let again = bytes_of(&Owned::open(&spec).unwrap());
    assert!(again == bytes);
}

#[test]
fn a_delta_in_use_is_not_sealed() {
    let (clone, _) = written_in(&[1]);
    let _stack = clone.open();
    let error = Owned::open(&clone.spec).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
}

#[test]
fn a_disk_of_another_size_is_not_written_to() {
    let (clone, bytes) = written_in(&[1]);
    let other = Clone::new(&pattern(100_000, 1), 204_800);
    let mut reader = Reader::open(&bytes[..], Path::new("in")).unwrap();
    let error = apply(&mut reader, &other.open(), &mut |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(delta::inspect(&other.delta()).unwrap().owned_blocks, 0);
    drop(clone);
}
