//! ELF kernels: what is to be loaded where, and how it is entered.
//!
//! Every number here comes from a file and is checked before use: the segments returned lie in
//! the file, in the memory kernels may have, and apart from each other; the entry lies in one of
//! them. (System V gABI chapters 4 and 5; notes: Xen's elfnote.h.)

use std::ops::Range;

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::image::Image;
use crate::layout;

/// `\x7fELF`, the first bytes.
pub(super) const MAGIC: [u8; 4] = *b"\x7fELF";

const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const TYPE_EXECUTABLE: u16 = 2;
const TYPE_POSITION_INDEPENDENT: u16 = 3;
const MACHINE_X86_64: u16 = 62;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_INTERPRETER: u32 = 3;
const SEGMENT_NOTE: u32 = 4;
/// Linux kernels have 5; enough for anything that is no attack.
const MAX_PROGRAM_HEADERS: u16 = 128;
/// Linux kernels have half a KiB of notes.
const MAX_NOTES: u64 = 64 << 10;
/// `XEN_ELFNOTE_PHYS32_ENTRY`: the PVH entry.
const NOTE_PVH_ENTRY: u32 = 18;

/// ELF-64 file header.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub magic: [u8; 4],
    pub class: u8,
    pub endianness: u8,
    pub ident: [u8; 10],
    pub kind: U16,
    pub machine: U16,
    pub version: U32,
    pub entry: U64,
    pub program_headers: U64,
    pub section_headers: U64,
    pub flags: U32,
    pub header_size: U16,
    pub program_header_size: U16,
    pub program_header_count: U16,
    pub section_header_size: U16,
    pub section_header_count: U16,
    pub section_names: U16,
}

/// ELF-64 program header.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ProgramHeader {
    pub kind: U32,
    pub flags: U32,
    pub offset: U64,
    pub virtual_address: U64,
    pub physical_address: U64,
    pub file_size: U64,
    pub memory_size: U64,
    pub align: U64,
}

/// Why an ELF file cannot be booted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the variants and their numbers mean")]
pub enum Error {
    #[error("cannot read it")]
    Read(#[source] std::io::Error),
    #[error("it is truncated: {what} end at byte {end}, the file at {len}")]
    Truncated { what: &'static str, end: u64, len: u64 },
    #[error("it is not an ELF file")]
    NotElf,
    #[error("it is a 32-bit kernel; only 64-bit kernels can be started")]
    ThirtyTwoBit,
    #[error("it is for {}, not x86-64", architecture(*.0))]
    Architecture(u16),
    #[error("it is big-endian, so not for x86-64")]
    BigEndian,
    #[error("it is an ELF file, but not executable (type {0}): an object, a module or a core dump")]
    NotExecutable(u16),
    #[error("it needs a dynamic loader, so it is a program for an operating system, not a kernel")]
    NeedsInterpreter,
    #[error("its program headers have {0} bytes each, not {size}", size = size_of::<ProgramHeader>())]
    ProgramHeaderSize(u16),
    #[error("it has {0} program headers; a kernel has at most {MAX_PROGRAM_HEADERS}")]
    TooManyProgramHeaders(u16),
    #[error("it has no segment to load")]
    NoSegments,
    #[error("its segment {index} has {file} bytes in the file but only {memory} in memory")]
    SegmentSize { index: usize, file: u64, memory: u64 },
    #[error("it needs at least {needed} MiB of memory; this machine has {has} MiB")]
    NeedsMemory { needed: u64, has: u64 },
    #[error(
        "its segment {index}, {start:#x} to {end:#x}, is not in the memory that kernels can have \
         in this machine, {:#x} to {:#x}", room.start, room.end
    )]
    SegmentOutside { index: usize, start: u64, end: u128, room: Range<u64> },
    #[error("its segments overlap at {at:#x}")]
    Overlap { at: u64 },
    #[error("its entry {0:#x} is in none of its segments")]
    EntryOutside(u64),
    #[error("its notes have {0} bytes; a kernel has at most {MAX_NOTES}")]
    NotesTooLong(u64),
    #[error("it has no PVH entry (no XEN_ELFNOTE_PHYS32_ENTRY note)")]
    NoPvhEntry,
}

fn architecture(machine: u16) -> String {
    let name = match machine {
        3 => "32-bit x86",
        8 => "MIPS",
        20 => "PowerPC",
        21 => "64-bit PowerPC",
        22 => "s390",
        40 => "32-bit ARM",
        183 => "64-bit ARM",
        243 => "RISC-V",
        258 => "LoongArch",
        other => return format!("another architecture (ELF machine {other})"),
    };
    name.to_owned()
}

/// A kernel that can be loaded.
#[derive(Debug)]
pub(super) struct Elf {
    /// `e_entry`. On a Linux kernel its physical address; on others it can be anything.
    pub entry: u64,
    /// The PVH entry, where the file has one.
    pub pvh_entry: Option<u32>,
    /// Whether it says of itself that it is Linux.
    pub is_linux: bool,
    /// In order of guest-physical addresses.
    pub segments: Vec<Segment>,
}

/// A part of the kernel.
#[derive(Debug)]
pub(super) struct Segment {
    /// Where it starts in the file.
    pub offset: u64,
    /// How many bytes the file has of it; the rest is zero.
    pub file_size: u64,
    /// Where it lies in guest memory.
    pub range: Range<u64>,
}

impl Elf {
    /// Reads and checks the headers of `image`, whose segments must lie in `room`.
    pub fn parse(image: &Image, room: &Range<u64>) -> Result<Elf, Error> {
        let header = read_header(image)?;
        let program_headers = read_program_headers(image, &header)?;
        if program_headers.iter().any(|header| header.kind == SEGMENT_INTERPRETER) {
            return Err(Error::NeedsInterpreter);
        }

        let mut segments = Vec::new();
        let mut notes = Notes::default();
        for (index, header) in program_headers.iter().enumerate() {
            match header.kind.get() {
                SEGMENT_LOAD if header.memory_size > 0 => {
                    segments.push(segment(index, header, image, room)?);
                }
                SEGMENT_NOTE => notes.read(image, header)?,
                _ => {}
            }
        }
        if segments.is_empty() {
            return Err(Error::NoSegments);
        }
        segments.sort_by_key(|segment| segment.range.start);
        check_overlap(&segments)?;
        Ok(Elf {
            entry: header.entry.get(),
            pvh_entry: notes.pvh_entry,
            is_linux: notes.is_linux,
            segments,
        })
    }

    /// `entry`, where the kernel has bytes there.
    pub fn check_entry(&self, entry: u64) -> Result<u64, Error> {
        let code = |s: &Segment| s.range.start <= entry && entry - s.range.start < s.file_size;
        if self.segments.iter().any(code) { Ok(entry) } else { Err(Error::EntryOutside(entry)) }
    }
}

fn read_header(image: &Image) -> Result<Header, Error> {
    let mut buf = [0; size_of::<Header>()];
    let found = image.read_at(&mut buf, 0).map_err(Error::Read)?;
    if !found.starts_with(&MAGIC) {
        return Err(Error::NotElf);
    }
    // The class next: a 32-bit header is shorter, and laid out differently after it.
    if found.get(4).is_some_and(|class| *class != CLASS_64) {
        return Err(Error::ThirtyTwoBit);
    }
    let header = Header::read_from_bytes(found)
        .map_err(|_| truncated("its header would", size_of::<Header>() as u64, image))?;
    if header.endianness != LITTLE_ENDIAN {
        return Err(Error::BigEndian);
    }
    if header.machine != MACHINE_X86_64 {
        return Err(Error::Architecture(header.machine.get()));
    }
    match header.kind.get() {
        TYPE_EXECUTABLE | TYPE_POSITION_INDEPENDENT => Ok(header),
        other => Err(Error::NotExecutable(other)),
    }
}

fn read_program_headers(image: &Image, header: &Header) -> Result<Vec<ProgramHeader>, Error> {
    let count = header.program_header_count.get();
    if count > MAX_PROGRAM_HEADERS {
        return Err(Error::TooManyProgramHeaders(count));
    }
    let size = header.program_header_size.get();
    if count > 0 && usize::from(size) != size_of::<ProgramHeader>() {
        return Err(Error::ProgramHeaderSize(size));
    }
    let at = header.program_headers.get();
    let mut buf = vec![0; usize::from(count) * size_of::<ProgramHeader>()];
    let found = image.read_at(&mut buf, at).map_err(Error::Read)?.len();
    if found < buf.len() {
        let end = at.saturating_add(buf.len() as u64);
        return Err(truncated("its program headers", end, image));
    }
    let headers = buf.chunks_exact(size_of::<ProgramHeader>());
    Ok(headers.filter_map(|bytes| ProgramHeader::read_from_bytes(bytes).ok()).collect())
}

fn segment(
    index: usize,
    header: &ProgramHeader,
    image: &Image,
    room: &Range<u64>,
) -> Result<Segment, Error> {
    let (offset, file_size) = (header.offset.get(), header.file_size.get());
    let (start, memory_size) = (header.physical_address.get(), header.memory_size.get());
    if file_size > memory_size {
        return Err(Error::SegmentSize { index, file: file_size, memory: memory_size });
    }
    let end_in_file = offset.saturating_add(file_size);
    if end_in_file > image.len() {
        return Err(truncated("its segments", end_in_file, image));
    }
    let range = start.checked_add(memory_size).map(|end| start..end);
    let fits = |range: &Range<u64>| room.start <= range.start && range.end <= room.end;
    match range {
        Some(range) if fits(&range) => Ok(Segment { offset, file_size, range }),
        Some(Range { end, .. }) if start >= room.start && end <= layout::GAP.start => {
            Err(Error::NeedsMemory { needed: end.div_ceil(1 << 20), has: room.end >> 20 })
        }
        _ => Err(Error::SegmentOutside {
            index,
            start,
            end: u128::from(start) + u128::from(memory_size),
            room: room.clone(),
        }),
    }
}

fn check_overlap(sorted: &[Segment]) -> Result<(), Error> {
    for (below, above) in sorted.iter().zip(sorted.iter().skip(1)) {
        if below.range.end > above.range.start {
            return Err(Error::Overlap { at: above.range.start });
        }
    }
    Ok(())
}

fn truncated(what: &'static str, end: u64, image: &Image) -> Error {
    Error::Truncated { what, end, len: image.len() }
}

/// What the notes say.
#[derive(Default)]
struct Notes {
    pvh_entry: Option<u32>,
    is_linux: bool,
}

impl Notes {
    fn read(&mut self, image: &Image, header: &ProgramHeader) -> Result<(), Error> {
        let len = header.file_size.get();
        if len > MAX_NOTES {
            return Err(Error::NotesTooLong(len));
        }
        let mut buf = vec![0; usize::try_from(len).map_err(|_| Error::NotesTooLong(len))?];
        let at = header.offset.get();
        let found = image.read_at(&mut buf, at).map_err(Error::Read)?;
        if (found.len() as u64) < len {
            return Err(truncated("its notes", at.saturating_add(len), image));
        }
        let mut rest = found;
        while let Some(note) = Note::take(&mut rest) {
            match (note.owner, note.kind) {
                (b"Xen\0", NOTE_PVH_ENTRY) => self.pvh_entry = note.address().or(self.pvh_entry),
                (b"Linux\0", _) => self.is_linux = true,
                _ => {}
            }
        }
        Ok(())
    }
}

struct Note<'a> {
    owner: &'a [u8],
    kind: u32,
    contents: &'a [u8],
}

impl<'a> Note<'a> {
    /// Splits the first note off `rest`; `None` at the end, and at a note that runs past it.
    fn take(rest: &mut &'a [u8]) -> Option<Note<'a>> {
        let ([owner_len, contents_len, kind], after) = <[U32; 3]>::read_from_prefix(rest).ok()?;
        let (owner, after) = take_aligned(after, owner_len.get())?;
        let (contents, after) = take_aligned(after, contents_len.get())?;
        *rest = after;
        Some(Note { owner, kind: kind.get(), contents })
    }

    /// The contents as an address: 32 bits, or a 64-bit value that fits.
    fn address(&self) -> Option<u32> {
        match *self.contents {
            [a, b, c, d] | [a, b, c, d, 0, 0, 0, 0] => Some(u32::from_le_bytes([a, b, c, d])),
            _ => None,
        }
    }
}

/// `len` bytes, and what follows the padding to 4 bytes; the last padding may be missing.
fn take_aligned(bytes: &[u8], len: u32) -> Option<(&[u8], &[u8])> {
    let len = usize::try_from(len).ok()?;
    let (taken, _) = bytes.split_at_checked(len)?;
    Some((taken, bytes.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

#[cfg(test)]
mod tests;
