//! Kernels made to order, and what tests of this folder share.

#![allow(clippy::cast_possible_truncation, reason = "small numbers of our own making")]

use std::error::Error;

use linux_loader::loader::bootparam::setup_header;
use vm_memory::ByteValued;
use zerocopy::{FromZeros, IntoBytes};

use super::elf::{Header, MAGIC, ProgramHeader};
use crate::layout;
use crate::memory::{self, GuestMemory};

/// Where the kernels here have their first segment, and their entry.
pub(super) const ENTRY: u64 = layout::KERNEL_START;
/// Where their contents start in the file.
pub(super) const CONTENTS: u64 = 0x200;
/// Where their PVH note leads.
pub(super) const PVH_ENTRY: u32 = 0x10_0004;

/// The parts of an ELF file, to be spoilt one by one.
#[derive(Clone)]
pub(super) struct ElfFile {
    pub header: Header,
    pub programs: Vec<ProgramHeader>,
    pub contents: Vec<u8>,
}

impl ElfFile {
    /// A kernel of one segment: 16 bytes in the file, a page in memory.
    pub fn new() -> ElfFile {
        let mut header = Header::new_zeroed();
        header.magic = MAGIC;
        (header.class, header.endianness) = (2, 1);
        (header.kind, header.machine) = (2.into(), 62.into());
        header.entry = ENTRY.into();
        header.program_headers = 64.into();
        header.program_header_size = 56.into();
        let contents = (1..=16).collect();
        let mut file = ElfFile { header, programs: vec![], contents };
        file.segment(ENTRY, 16, 0x1000);
        file
    }

    /// Adds a segment whose bytes are the first of the contents.
    pub fn segment(&mut self, at: u64, file_size: u64, memory_size: u64) -> &mut ProgramHeader {
        let mut program = ProgramHeader::new_zeroed();
        program.kind = 1.into();
        program.offset = CONTENTS.into();
        program.physical_address = at.into();
        program.file_size = file_size.into();
        program.memory_size = memory_size.into();
        self.programs.push(program);
        self.programs.last_mut().unwrap()
    }

    /// Adds a note, in a segment of its own.
    pub fn note(mut self, owner: &str, kind: u32, contents: &[u8]) -> ElfFile {
        let mut note = Vec::new();
        note.extend((owner.len() as u32 + 1).to_le_bytes());
        note.extend((contents.len() as u32).to_le_bytes());
        note.extend(kind.to_le_bytes());
        note.extend(owner.bytes());
        note.resize(note.len() + 1, 0);
        note.resize(note.len().next_multiple_of(4), 0);
        note.extend(contents);
        let offset = CONTENTS + self.contents.len() as u64;
        let len = note.len() as u64;
        self.contents.extend(note);
        let program = self.segment(0, len, len);
        (program.kind, program.offset) = (4.into(), offset.into());
        self
    }

    /// The same with the note of a PVH entry.
    pub fn with_pvh(self) -> ElfFile {
        self.note("Xen", 18, &PVH_ENTRY.to_le_bytes())
    }

    /// The same with the note by which Linux is known.
    pub fn with_linux_note(self) -> ElfFile {
        self.note("Linux", 0x100, &[0; 4])
    }

    pub fn build(&self) -> Vec<u8> {
        let mut header = self.header.clone();
        if header.program_header_count == 0 {
            header.program_header_count = (self.programs.len() as u16).into();
        }
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(self.programs.as_bytes());
        bytes.resize(CONTENTS as usize, 0);
        bytes.extend(&self.contents);
        bytes
    }
}

/// The header of a bzImage with this payload.
pub(super) fn setup(payload: &[u8]) -> setup_header {
    setup_header {
        boot_flag: 0xaa55,
        header: 0x5372_6448,
        version: 0x020f,
        jump: 0x6aeb, // over the header: its second byte is the header's length
        setup_sects: 1,
        payload_offset: 0x40,
        payload_length: payload.len() as u32,
        cmdline_size: 2047,
        initrd_addr_max: 0x7fff_ffff,
        ..setup_header::default()
    }
}

/// A bzImage of this header, with this payload where the header says.
pub(super) fn bzimage(setup: &setup_header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xcc; 0x1f1];
    bytes.extend(setup.as_slice());
    let sectors = usize::from(setup.setup_sects) + 1;
    bytes.resize(sectors * 512 + setup.payload_offset as usize, 0xcc);
    bytes.extend(payload);
    bytes
}

/// A payload as the kernel's build makes it of gzip's output.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::fast());
    std::io::Read::read_to_end(&mut encoder, &mut packed).unwrap();
    packed
}

/// A small guest's memory.
pub(super) fn memory() -> GuestMemory {
    memory::create("test", memory::MIN_MIB).unwrap()
}

/// An error as it is printed: with all that caused it.
pub(super) fn chain(error: &dyn Error) -> String {
    let Some(source) = error.source() else { return error.to_string() };
    // What only passes its source on says nothing itself.
    match (error.to_string(), chain(source)) {
        (own, causes) if causes.starts_with(&own) => causes,
        (own, causes) => format!("{own}: {causes}"),
    }
}

/// Whether `program` is there for the test of this name. Without it the test cannot run: said
/// aloud, and a failure where CI is set.
pub(super) fn need(test: &str, program: &str, package: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !found {
        eprintln!("NOT TESTED: {test} needs {program} (Debian: apt-get install {package})");
        assert!(std::env::var_os("CI").is_none(), "{program} is missing");
    }
    found
}
