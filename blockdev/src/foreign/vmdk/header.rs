//! The header of a sparse vmdk, at the start of the file or, of a stream, near its end.

use std::ops::Range;

use super::super::input::{Input, le};
use crate::Result;
use crate::delta::MAX_SIZE;

/// Bytes in a sector; most numbers count these.
pub(super) const SECTOR: u64 = 512;
/// Entries in a grain table.
pub(super) const ENTRIES: u64 = 512;
/// Where a stream's header says that the real one is at the end.
const AT_END: u64 = u64::MAX;

const ZERO_GRAINS: u64 = 1 << 2;
const PACKED: u64 = 1 << 16;
const MARKERS: u64 = 1 << 17;
/// Whether line ends survived, whether there is a second directory: neither matters here.
const HARMLESS: u64 = 0b11;

const CONVERT: &str = "convert it: qemu-img convert -f vmdk -O raw FILE disk.raw";
const REPAIR: &str = "open and close it in the program it is from, or convert it with qemu-img";

/// What reading needs to know. Every number has been checked.
#[derive(Debug)]
pub(super) struct Header {
    /// The disk's length in bytes.
    pub(super) size: u64,
    /// Bytes in a grain: a power of two, 4 KiB to 2 MiB.
    pub(super) grain: u64,
    /// Where the grain directory is; it lies within the file.
    pub(super) directory: u64,
    /// Where the descriptor is, in bytes of the file.
    pub(super) descriptor: Range<u64>,
    /// An entry of 1 means zeroes.
    pub(super) zero_grains: bool,
    /// Grains are compressed.
    pub(super) packed: bool,
}

impl Header {
    pub(super) fn read(input: &Input) -> Result<Header> {
        let start = input.read_up_to(512, 0)?;
        if start.starts_with(b"# Disk Desc") {
            let what = "it only describes other files, which are never followed";
            return Err(input.unsupported(what, "import its -flat.vmdk as raw, or convert it"));
        }
        let first = Header::parse(input, &start, 0)?;
        let header = if first.directory == AT_END {
            let at = input.len().saturating_sub(1024);
            let footer = input.read_up_to(512, at)?;
            Header { descriptor: first.descriptor, ..Header::parse(input, &footer, at)? }
        } else {
            first
        };
        let end = header.directory.checked_add(header.tables() * 4);
        if end.is_none_or(|end| end > input.len()) {
            return Err(input.damaged(56, "its grain directory is not where it can be"));
        }
        Ok(header)
    }

    /// Of the 512 bytes found at `at`.
    fn parse(input: &Input, bytes: &[u8], at: u64) -> Result<Header> {
        if bytes.len() < 512 || !bytes.starts_with(b"KDMV") {
            return Err(input.damaged(at, "it has no vmdk header"));
        }
        refuse_features(input, bytes, at)?;
        let sectors = |from| le::<8>(bytes, from).checked_mul(SECTOR);
        let size = sectors(12).filter(|&size| size <= MAX_SIZE);
        let grain = sectors(20)
            .filter(|&grain| grain.is_power_of_two() && (4096..=2 << 20).contains(&grain));
        let (descriptor, len) = (sectors(28), sectors(36));
        let directory = match le::<8>(bytes, 56) {
            AT_END => Some(AT_END),
            _ => sectors(56),
        };
        let impossible = |what| move || input.damaged(at, format!("its {what} is impossible"));
        let descriptor = descriptor.ok_or_else(impossible("descriptor's place"))?;
        let end = len.and_then(|len| descriptor.checked_add(len));
        let flags = le::<4>(bytes, 8);
        Ok(Header {
            size: size.ok_or_else(impossible("size"))?,
            grain: grain.ok_or_else(impossible("grain size"))?,
            directory: directory.ok_or_else(impossible("directory's place"))?,
            descriptor: descriptor..end.ok_or_else(impossible("descriptor's length"))?,
            zero_grains: flags & ZERO_GRAINS != 0,
            packed: flags & PACKED != 0,
        })
    }

    /// Bytes of the disk that one grain table speaks of.
    pub(super) fn reach(&self) -> u64 {
        self.grain * ENTRIES
    }

    /// How many grain tables the disk can have.
    pub(super) fn tables(&self) -> u64 {
        self.size.div_ceil(self.reach())
    }

    /// The bytes of the disk that a grain table speaks of.
    pub(super) fn range_of_table(&self, index: u64) -> Range<u64> {
        let start = index * self.reach();
        start..(start + self.reach()).min(self.size)
    }
}

fn refuse_features(input: &Input, bytes: &[u8], at: u64) -> Result<()> {
    let (version, flags) = (le::<4>(bytes, 4), le::<4>(bytes, 8));
    if !(1..=3).contains(&version) {
        return Err(input.unsupported(format!("it is vmdk of version {version}"), CONVERT));
    }
    if flags & !(HARMLESS | ZERO_GRAINS | PACKED | MARKERS) != 0 {
        return Err(input.unsupported(format!("it has unknown flags {flags:#x}"), CONVERT));
    }
    let packed = flags & PACKED != 0;
    if packed != (flags & MARKERS != 0) || packed != (le::<2>(bytes, 77) == 1) {
        return Err(input.damaged(at, "what it says of compression is contradictory"));
    }
    if le::<4>(bytes, 44) != ENTRIES {
        return Err(input.damaged(at, "its grain tables have an impossible length"));
    }
    if flags & 1 != 0 && bytes.get(73..77) != Some(b"\n \r\n") {
        return Err(input.damaged(at, "its line ends were changed, as by a transfer as text"));
    }
    if le::<1>(bytes, 72) != 0 {
        return Err(input.unsupported("it was not closed cleanly, or is in use", REPAIR));
    }
    Ok(())
}
