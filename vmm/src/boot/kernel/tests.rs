#![allow(clippy::cast_possible_truncation, reason = "small numbers of our own making")]

use proptest::prelude::*;

use super::*;
use crate::boot::testing::{
    CONTENTS, ENTRY, ElfFile, PVH_ENTRY, bzimage, chain, gzip, memory, setup,
};
use vm_memory::{Bytes, GuestAddress};

const ROOM: Range<u64> = 1 << 20..4 << 20;

fn kernel(bytes: Vec<u8>) -> Result<Kernel, Error> {
    Kernel::from_image(Image::from(bytes), &ROOM)
}

/// A bzImage of this ELF file.
fn packed(file: &ElfFile) -> Vec<u8> {
    let payload = gzip(&file.build());
    bzimage(&setup(&payload), &payload)
}

fn entry(bytes: Vec<u8>, asked: Option<Protocol>) -> (Protocol, u64) {
    kernel(bytes).unwrap().entry(asked).unwrap()
}

#[test]
fn linux_is_entered_in_64_bit_mode_and_others_by_pvh_where_they_can() {
    let pvh = (Protocol::Pvh, u64::from(PVH_ENTRY));
    let linux64 = (Protocol::Linux64, ENTRY);
    let plain = ElfFile::new();
    let with_pvh = ElfFile::new().with_pvh();
    let with_both = ElfFile::new().with_pvh().with_linux_note();
    assert_eq!(entry(plain.build(), None), linux64);
    assert_eq!(entry(with_pvh.build(), None), pvh);
    assert_eq!(entry(with_both.build(), None), linux64);
    assert_eq!(entry(packed(&with_pvh), None), linux64);
}

#[test]
fn the_protocol_asked_for_is_taken() {
    let both = ElfFile::new().with_pvh().build();
    assert_eq!(entry(both.clone(), Some(Protocol::Linux64)), (Protocol::Linux64, ENTRY));
    assert_eq!(entry(both, Some(Protocol::Pvh)).0, Protocol::Pvh);
    let error = kernel(ElfFile::new().build()).unwrap().entry(Some(Protocol::Pvh)).unwrap_err();
    assert_eq!(error.to_string(), "it has no PVH entry (no XEN_ELFNOTE_PHYS32_ENTRY note)");
}

#[test]
fn entries_outside_the_kernel_are_refused() {
    let mut file = ElfFile::new().with_pvh();
    file.header.entry = 0xffff_ffff_8000_0000_u64.into();
    let kernel = kernel(file.build()).unwrap();
    kernel.entry(None).unwrap();
    let error = kernel.entry(Some(Protocol::Linux64)).unwrap_err().to_string();
    assert_eq!(error, "its entry 0xffffffff80000000 is in none of its segments");
}

#[test]
fn segments_go_to_their_addresses_and_nothing_else_is_written() {
    let mut file = ElfFile::new();
    file.segment(0x20_0008, 8, 0x1000);
    for bytes in [file.build(), packed(&file)] {
        let memory = memory();
        kernel(bytes).unwrap().load(&memory).unwrap();
        let read = |at| memory.read_obj::<[u8; 16]>(GuestAddress(at)).unwrap();
        assert_eq!(read(ENTRY).to_vec(), (1..=16).collect::<Vec<u8>>());
        assert_eq!(read(0x20_0000), [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(written(&memory), [ENTRY..ENTRY + 16, 0x20_0008..0x20_0010]);
    }
}

fn bytes_of(memory: &GuestMemory) -> Vec<u8> {
    let mut bytes = vec![0; 4 << 20];
    memory.read_slice(&mut bytes, GuestAddress(0)).unwrap();
    bytes
}

/// Where there is anything but zero.
fn written(memory: &GuestMemory) -> Vec<Range<u64>> {
    let bytes = bytes_of(memory);
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for at in (0u64..).zip(&bytes).filter_map(|(at, byte)| (*byte != 0).then_some(at)) {
        match ranges.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ => ranges.push(at..at + 1),
        }
    }
    ranges
}

#[test]
fn acpi_is_found_wherever_its_marker_lies() {
    for at in [0, 1, 0xffff, 0x1_0000 - 4, 0x1_0000, 0x2_0000 - 1, 0x2_3000 - 8] {
        let mut file = ElfFile::new();
        file.contents = vec![b'R'; 0x2_3000];
        file.programs[0].file_size = 0x2_3000.into();
        file.programs[0].memory_size = 0x2_3000.into();
        assert!(!kernel(file.build()).unwrap().finds_acpi().unwrap());
        file.contents[at..at + 8].copy_from_slice(ACPI_MARKER);
        assert!(kernel(file.build()).unwrap().finds_acpi().unwrap(), "{at:#x}");
        file.programs[0].file_size = (at as u64 + 7).into();
        assert!(!kernel(file.build()).unwrap().finds_acpi().unwrap(), "{at:#x}");
    }
}

#[test]
fn limits_are_the_bzimages_own() {
    let elf = kernel(ElfFile::new().build()).unwrap();
    assert_eq!(elf.cmdline_limit(), 2047);
    assert!(elf.setup_header().is_none());

    let payload = gzip(&ElfFile::new().build());
    let mut header = setup(&payload);
    (header.cmdline_size, header.initrd_addr_max) = (100, 0x2f_ffff);
    let bz = kernel(bzimage(&header, &payload)).unwrap();
    assert_eq!(bz.cmdline_limit(), 100);
    assert_eq!(bz.free_memory(&ROOM).first(), Some(&(0x10_1000..0x30_0000)));
}

#[test]
fn what_a_short_header_leaves_out_is_zero() {
    let payload = gzip(&ElfFile::new().build());
    let header = setup(&payload);
    let mut bytes = bzimage(&header, &payload);
    bytes[0x201] = 0x4e; // up to payload_length
    let kernel = kernel(bytes).unwrap();
    let (length, init_size) =
        kernel.setup_header().map(|s| (s.payload_length, s.init_size)).unwrap();
    assert_eq!((length, init_size), (payload.len() as u32, 0));
}

#[test]
fn free_memory_is_what_the_segments_leave() {
    let mut file = ElfFile::new();
    file.segment(0x20_0000, 16, 0x1001);
    let free = kernel(file.build()).unwrap().free_memory(&ROOM);
    assert_eq!(free, [0x20_1001..0x40_0000, 0x10_1000..0x20_0000]);
}

#[test]
fn bad_bzimages_say_what_is_wrong() {
    let payload = gzip(&ElfFile::new().build());
    let good = setup(&payload);
    let refusal =
        |header: &_, payload: &[u8]| chain(&kernel(bzimage(header, payload)).err().unwrap());

    let mut old = good;
    old.version = 0x0207;
    assert!(refusal(&old, &payload).contains("boot protocol 2.07"));
    let mut empty = good;
    empty.payload_length = 4;
    assert_eq!(
        refusal(&empty, &payload),
        "it has no compressed kernel (its header gives 4 bytes for it)"
    );
    let cut = refusal(&good, &payload[..payload.len() - 1]);
    assert!(cut.starts_with("it is truncated: its compressed kernel ends at byte"), "{cut}");
    let mut far = bzimage(&good, &payload);
    far[0x248..0x250].fill(0xff); // offset and length
    let far = chain(&kernel(far).err().unwrap());
    assert!(far.contains("ends at byte 8589935614"), "{far}");
}

#[test]
fn what_is_unpacked_is_checked_like_any_kernel() {
    let mut file = ElfFile::new();
    file.header.class = 1;
    assert_eq!(
        chain(&kernel(packed(&file)).err().unwrap()),
        "what it unpacks to cannot be used: it is a 32-bit kernel; only 64-bit kernels can be started"
    );
    let payload = gzip(b"#!/bin/sh\n");
    let error = kernel(bzimage(&setup(&payload), &payload)).err().unwrap();
    assert_eq!(chain(&error), "what it unpacks to cannot be used: it is not an ELF file");
}

/// Overwrites of single bytes; small ones and those at the start are likelier.
fn spoiling(len: usize) -> impl Strategy<Value = (Vec<(usize, u8)>, usize)> {
    let byte = prop_oneof![Just(0), Just(0xff), Just(0x7f), any::<u8>()];
    let place = prop_oneof![4 => 0..CONTENTS as usize, 1 => 0..len];
    let cut = prop_oneof![3 => Just(len), 1 => 0..len];
    (prop::collection::vec((place, byte), 1..12), cut)
}

fn spoil(mut bytes: Vec<u8>, (changes, cut): (Vec<(usize, u8)>, usize)) -> Vec<u8> {
    for (at, byte) in changes {
        bytes[at % cut.max(1)] = byte;
    }
    bytes.truncate(cut);
    bytes
}

/// Whatever the bytes: no panic, and a kernel that is accepted stays where it may be.
fn check_any(bytes: Vec<u8>) {
    let Ok(kernel) = kernel(bytes) else { return };
    let memory = memory();
    kernel.load(&memory).unwrap();
    kernel.finds_acpi().unwrap();
    let _ = kernel.entry(None);
    let segments = &kernel.elf.segments;
    let mut bytes = bytes_of(&memory);
    for Segment { range, file_size, .. } in segments {
        assert!(range.start >= ENTRY);
        let start = range.start as usize;
        bytes[start..start + *file_size as usize].fill(0);
    }
    assert!(bytes == vec![0; bytes.len()]);
    for free in kernel.free_memory(&ROOM) {
        assert!(ENTRY <= free.start && free.end <= ROOM.end);
        assert!(segments.iter().all(|s| s.range.end <= free.start || free.end <= s.range.start));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn spoilt_elf_files_never_escape(
        change in spoiling(ElfFile::new().with_pvh().with_linux_note().build().len())
    ) {
        check_any(spoil(ElfFile::new().with_pvh().with_linux_note().build(), change));
    }

    #[test]
    fn spoilt_bzimages_never_escape(change in spoiling(packed(&ElfFile::new()).len())) {
        let mut bytes = packed(&ElfFile::new());
        // The header is what decides; spoil it, not the code before it.
        bytes.rotate_left(0x1f1);
        let mut bytes = spoil(bytes, change);
        let back = 0x1f1.min(bytes.len());
        bytes.rotate_right(back);
        check_any(bytes);
    }

    #[test]
    fn random_files_never_escape(mut bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        check_any(bytes.clone());
        for (byte, magic) in bytes.iter_mut().zip(ElfFile::new().build().into_iter().take(20)) {
            *byte = magic;
        }
        check_any(bytes);
    }
}
