//! The bodies without a fuzzer, and the seeds of their corpora.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use uuid::Uuid;

use super::driver::{drive, folder};
use super::{bitmap, header, owner_map, qcow2, sealed, stack, vmdk};
use crate::delta::{BLOCK_LEN, Header, Parent, SECTOR_WORDS, State};
use crate::foreign::fuzz::seeds;
use crate::testing::long;
use crate::{StackSpec, base, owners, sealed as file};

/// As many mutations as some seconds are good for, or minutes.
fn count(few: u64) -> u64 {
    if long() { few * 50 } else { few }
}

#[test]
fn nothing_in_a_header_makes_it_panic_or_contradict_itself() {
    drive("header", count(200_000), header);
}

#[test]
fn nothing_in_a_bitmap_makes_it_panic_or_contradict_itself() {
    drive("bitmap", count(60_000), bitmap);
}

#[test]
fn nothing_in_an_owner_map_makes_it_panic_or_contradict_itself() {
    drive("owner_map", count(60_000), owner_map);
}

#[test]
fn nothing_in_a_sealed_file_makes_it_panic_or_contradict_itself() {
    drive("sealed", count(40_000), sealed);
}

#[test]
fn nothing_a_stack_is_made_of_makes_it_panic_or_contradict_itself() {
    drive("stack", count(100_000), stack);
}

#[test]
fn nothing_in_a_qcow2_makes_it_panic_or_contradict_itself() {
    drive("qcow2", count(40_000), qcow2);
}

#[test]
fn nothing_in_a_vmdk_makes_it_panic_or_contradict_itself() {
    drive("vmdk", count(40_000), vmdk);
}

#[test]
fn the_seeds_of_foreign_images_are_sound() {
    for (body, seeds) in [(qcow2 as fn(&[u8]) -> bool, seeds::qcow2()), (vmdk, seeds::vmdk())] {
        seeds.iter().for_each(|(name, bytes)| assert!(body(bytes), "{name}"));
    }
}

#[test]
#[ignore = "writes fuzz/corpus again, after a format has changed"]
fn the_seeds_are_written_again() {
    let named = |target, seeds: Vec<(&'static str, Vec<u8>)>| {
        seeds.into_iter().map(|(name, bytes)| (target, name, bytes)).collect::<Vec<Seed>>()
    };
    let foreign = [named("qcow2", seeds::qcow2()), named("vmdk", seeds::vmdk())];
    let own = [header_seeds(), bitmap_seeds(), owner_seeds(), sealed_seeds(), stack_seeds()];
    for (target, name, bytes) in [own.concat(), foreign.concat()].concat() {
        fs::create_dir_all(folder(target)).unwrap();
        fs::write(folder(target).join(name), bytes).unwrap();
    }
}

type Seed = (&'static str, &'static str, Vec<u8>);

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn a_header(number: u128, size: u64, parent: Parent, state: State) -> Header {
    Header { state, ..Header::new(uuid(number), size, parent) }
}

fn header_seeds() -> Vec<Seed> {
    let nothing = a_header(1, 512, Parent::nothing(), State::Live);
    let identity = base::Identity {
        uuid: uuid(2),
        size: 5000,
        digest: "07".repeat(32),
        mtime_ns: 0,
        inode: 0,
    };
    let on_base = a_header(3, 1 << 20, Parent::base(&identity).unwrap(), State::Frozen);
    let parent = Parent::delta(uuid(3), 1, 1 << 20);
    let absorbing = a_header(4, 1 << 46, parent, State::Absorbing(uuid(5)));
    let newer = Header { generation: 2, state: State::Absorbed(uuid(5)), ..absorbing.clone() };
    vec![
        ("header", "nothing", [nothing.encode(); 2].concat()),
        ("header", "base", [on_base.encode(); 2].concat()),
        ("header", "half-rewritten", [newer.encode(), absorbing.encode()].concat()),
    ]
}

fn bitmap_seeds() -> Vec<Seed> {
    let header = a_header(6, 40 << 20, Parent::nothing(), State::Live);
    let mut bits = [0; SECTOR_WORDS];
    bits[..3].copy_from_slice(&[1, u64::MAX, 0b1010]);
    let sectors = [(0, bits), (1, [u64::MAX; SECTOR_WORDS]), (2, [1 << 63; SECTOR_WORDS])];
    let sectors = sectors.map(|(index, bits)| header.encode_sector(index, &bits)).concat();
    vec![("bitmap", "three-sectors", [&header.encode()[..], &sectors].concat())]
}

fn owner_seeds() -> Vec<Seed> {
    let map = |layers, chunks: u64, of: fn(usize) -> u16| {
        let (key, owners) = owners::fuzz::example(layers, chunks, of);
        owners::encode(&key, &owners)
    };
    vec![
        ("owner_map", "one", map(1, 2, |_| 1)),
        ("owner_map", "runs", map(5, 2, |block| (block / 700 % 6) as u16)),
        ("owner_map", "grid", map(9, 1, |block| (block % 10) as u16)),
        ("owner_map", "owners", map(900, 1, |block| (block % 901) as u16)),
    ]
}

/// Owned blocks in memory.
struct Blocks(BTreeMap<u64, [u8; BLOCK_LEN]>);

impl file::Source for Blocks {
    fn header(&self) -> file::Header {
        let base = file::BaseRef { digest: [7; 32], size: 5000, visible: 4500 };
        file::Header { size: 9 * 4096 - 512, base: Some(base) }
    }

    fn next_owned(&self, from: u64) -> file::Result<Option<Range<u64>>> {
        Ok(self.0.range(from..).next().map(|(&block, _)| block..block + 1))
    }

    fn read(&self, from: u64, into: &mut [u8]) -> file::Result<()> {
        into.copy_from_slice(&self.0[&from]);
        Ok(())
    }
}

fn sealed_seeds() -> Vec<Seed> {
    let seal = |blocks: &[(u64, u8)]| {
        let blocks = Blocks(blocks.iter().map(|&(at, byte)| (at, [byte; BLOCK_LEN])).collect());
        let mut bytes = Vec::new();
        let path = Path::new("out");
        file::seal(&blocks, b"cpus = 1\n", &mut bytes, path, &mut |_, _| ()).unwrap();
        bytes
    };
    let mixed = seal(&[(1, 5), (2, 5), (3, 0), (4, 0), (7, 6)]);
    vec![
        ("sealed", "empty", seal(&[])),
        ("sealed", "zeroes", unpacked_frames(&seal(&[(1, 0), (4, 0)]))),
        ("sealed", "mixed-unpacked", unpacked_frames(&mixed)),
        ("sealed", "mixed", mixed),
    ]
}

/// A file of one chunk with that chunk in a frame that packs nothing: its content can be mutated.
fn unpacked_frames(bytes: &[u8]) -> Vec<u8> {
    let (head, rest) = bytes.split_at(256 + 9);
    let stored = u32::from_le_bytes(*rest[12..].first_chunk().unwrap()) as usize;
    let content = zstd::bulk::decompress(&rest[48..48 + stored], 1 << 20).unwrap();
    let len = content.len() as u32;
    let block = len << 3 | 1;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend(len.to_le_bytes());
    frame.extend(&block.to_le_bytes()[..3]);
    frame.extend(content);
    let stored_now = (frame.len() as u32).to_le_bytes();
    [head, &rest[..12], &stored_now, &rest[16..48], &frame, &rest[48 + stored..]].concat()
}

fn stack_seeds() -> Vec<Seed> {
    let bottom = a_header(7, 40 << 20, Parent::nothing(), State::Frozen);
    let middle = a_header(8, 8192, Parent::delta(uuid(7), 0, 40 << 20), State::Frozen);
    let top = a_header(9, 1 << 20, Parent::delta(uuid(8), 0, 8192), State::Live);
    let identity = base::Identity {
        uuid: uuid(2),
        size: 5000,
        digest: "07".repeat(32),
        mtime_ns: -1,
        inode: 3,
    };
    let spec = StackSpec {
        base: Some(base::Base { path: "images/07/base".into(), identity }),
        frozen: vec!["layers/a/delta".into()],
        owners: Some("layers/a/owners".into()),
        delta: Some("vms/é/delta".into()),
        ephemeral: false,
    };
    vec![
        ("stack", "one-layer", bottom.encode().into()),
        ("stack", "three-layers", [bottom, middle, top].map(|header| header.encode()).concat()),
        ("stack", "description", serde_json::to_vec(&spec).unwrap()),
        ("stack", "nothing", serde_json::to_vec(&StackSpec::default()).unwrap()),
    ]
}
