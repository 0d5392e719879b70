#![allow(clippy::cast_possible_truncation, reason = "small numbers of our own making")]

use super::*;
use crate::boot::testing::{CONTENTS, ENTRY, ElfFile, PVH_ENTRY, chain};

const ROOM: Range<u64> = 1 << 20..16 << 20;

fn parse(file: &ElfFile) -> Result<Elf, Error> {
    Elf::parse(&Image::from(file.build()), &ROOM)
}

fn refusal(spoil: impl FnOnce(&mut ElfFile)) -> String {
    let mut file = ElfFile::new();
    spoil(&mut file);
    chain(&parse(&file).unwrap_err())
}

#[test]
fn segments_come_in_the_order_of_memory() {
    let mut file = ElfFile::new();
    file.segment(0x40_0000, 0, 0x1000);
    file.segment(0x20_0000, 8, 8);
    let elf = parse(&file).unwrap();
    let starts: Vec<_> = elf.segments.iter().map(|segment| segment.range.start).collect();
    assert_eq!(starts, [ENTRY, 0x20_0000, 0x40_0000]);
    assert_eq!((elf.segments[1].offset, elf.segments[1].file_size), (CONTENTS, 8));
    assert_eq!((elf.pvh_entry, elf.is_linux), (None, false));
}

#[test]
fn notes_say_the_pvh_entry_and_linux() {
    let elf = parse(&ElfFile::new().note("GNU", 18, &[1; 4]).with_pvh().with_linux_note()).unwrap();
    assert_eq!((elf.pvh_entry, elf.is_linux), (Some(PVH_ENTRY), true));
}

#[test]
fn pvh_entries_of_64_bits_count_where_they_fit() {
    let entry = |value: u64| {
        parse(&ElfFile::new().note("Xen", 18, &value.to_le_bytes())).unwrap().pvh_entry
    };
    assert_eq!(entry(0x10_0008), Some(0x10_0008));
    assert_eq!(entry(0x1_0010_0008), None);
}

#[test]
fn notes_that_run_past_their_end_are_ignored() {
    let mut file = ElfFile::new().with_pvh();
    let note = CONTENTS as usize + 16;
    let mut bytes = file.build();
    bytes[note..note + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Elf::parse(&Image::from(bytes), &ROOM).unwrap().pvh_entry, None);
    file.programs[1].file_size = 11.into();
    assert_eq!(parse(&file).unwrap().pvh_entry, None);
}

#[test]
fn entries_must_lie_in_what_the_file_has() {
    let elf = parse(&ElfFile::new()).unwrap();
    assert_eq!(elf.check_entry(ENTRY).unwrap(), ENTRY);
    assert_eq!(elf.check_entry(ENTRY + 15).unwrap(), ENTRY + 15);
    for outside in [0, ENTRY - 1, ENTRY + 16, u64::MAX] {
        let error = elf.check_entry(outside).unwrap_err().to_string();
        assert_eq!(error, format!("its entry {outside:#x} is in none of its segments"));
    }
}

#[test]
fn other_kinds_of_elf_files_are_told_apart() {
    let refused = [
        (refusal(|file| file.header.class = 1), "it is a 32-bit kernel"),
        (refusal(|file| file.header.endianness = 2), "it is big-endian"),
        (refusal(|file| file.header.machine = 183.into()), "it is for 64-bit ARM, not x86-64"),
        (refusal(|file| file.header.machine = 9999.into()), "(ELF machine 9999), not x86-64"),
        (refusal(|file| file.header.kind = 1.into()), "not executable (type 1)"),
        (refusal(|file| file.header.kind = 4.into()), "not executable (type 4)"),
        (refusal(|file| file.programs[0].kind = 3.into()), "it needs a dynamic loader"),
        (refusal(|file| file.programs[0].kind = 2.into()), "it has no segment to load"),
        (refusal(|file| file.programs.clear()), "it has no segment to load"),
    ];
    for (error, expected) in refused {
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn hostile_program_headers_are_refused() {
    let refused = [
        (refusal(|file| file.header.program_header_size = 32.into()), "32 bytes each, not 56"),
        (refusal(|file| file.header.program_header_count = 0xffff.into()), "at most 128"),
        (refusal(|file| file.header.program_header_count = 128.into()), "program headers end at"),
        (refusal(|file| file.header.program_headers = u64::MAX.into()), "program headers end at"),
        (refusal(|file| file.programs[0].file_size = u64::MAX.into()), "only 4096 in memory"),
        (refusal(|file| file.programs[0].offset = u64::MAX.into()), "segments end at byte"),
        (refusal(|file| file.programs[0].file_size = 17.into()), "the file at 528"),
    ];
    for (error, expected) in refused {
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn segments_outside_the_room_say_where_it_is() {
    let at = |start: u64, size: u64| {
        refusal(|file| {
            file.segment(start, 0, size);
        })
    };
    assert_eq!(
        at(0, 1),
        "its segment 1, 0x0 to 0x1, is not in the memory that kernels can have in this machine, \
         0x100000 to 0x1000000"
    );
    assert!(at(0xf_ffff, 1).contains("0xfffff to 0x100000, is not in"));
    for start in [layout::GAP.start - 1, layout::GAP.start, layout::GAP.end] {
        assert!(at(start, 2).contains("is not in"));
    }
    assert!(at(u64::MAX, u64::MAX).contains("is not in"));
}

#[test]
fn too_little_memory_says_how_much_is_needed() {
    let error = refusal(|file| {
        file.segment(0xff_f000, 0, 0x1001);
    });
    assert_eq!(error, "it needs at least 17 MiB of memory; this machine has 16 MiB");
}

#[test]
fn overlapping_segments_are_refused() {
    let error = refusal(|file| {
        file.segment(ENTRY + 0xfff, 1, 1);
    });
    assert_eq!(error, "its segments overlap at 0x100fff");
    refusal(|file| {
        file.segment(ENTRY, 16, 16);
    });
}

#[test]
fn truncation_is_seen_at_every_length() {
    let whole = ElfFile::new().build();
    Elf::parse(&Image::from(whole.clone()), &ROOM).unwrap();
    for len in 4..whole.len() {
        let error = Elf::parse(&Image::from(whole[..len].to_vec()), &ROOM).unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }), "{len}: {error}");
    }
}

#[test]
fn long_notes_are_not_read() {
    let mut file = ElfFile::new().with_pvh();
    (file.programs[1].file_size, file.programs[1].memory_size) = (65537.into(), 65537.into());
    let error = parse(&file).unwrap_err().to_string();
    assert_eq!(error, "its notes have 65537 bytes; a kernel has at most 65536");
}
