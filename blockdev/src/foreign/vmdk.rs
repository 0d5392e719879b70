//! vmdk, sparse and in one file: monolithicSparse and streamOptimized. VMware's "Virtual Disk
//! Format 1.1" has every byte.
//!
//! ```text
//!   at ──► directory entry ──► grain table ──► entry ──► grain | packed grain | zeroes | below
//! ```
//!
//! A descriptor that names other files is refused: they are never opened.

mod descriptor;
mod header;

use std::ops::Range;

use super::chain::{Backing, Image, Place, in_parts, start};
use super::input::{Input, le};
use super::unpack::{Method, Unpacked, unpack};
use crate::Result;
use header::{ENTRIES, Header, SECTOR};

/// What a packed grain starts with: its place on the disk, its length.
const MARKER: usize = 12;

/// An image whose tables are sound.
#[derive(Debug)]
pub(super) struct Vmdk {
    input: Input,
    header: Header,
    backing: Option<Backing>,
    table: Table,
    unpacked: Unpacked,
}

/// The grain table that was used last.
#[derive(Debug, Default)]
struct Table {
    index: Option<u64>,
    /// Where it is in the file; zero: it has no entries, and nothing in `bytes`.
    offset: u64,
    bytes: Vec<u8>,
}

/// Where a grain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grain {
    Below,
    Zero,
    At(u64),
}

impl Grain {
    fn place(self, packed: bool) -> Place {
        match self {
            Grain::Below => Place::Below,
            Grain::Zero => Place::Zero,
            Grain::At(_) if packed => Place::Packed,
            Grain::At(_) => Place::Data,
        }
    }
}

impl Vmdk {
    /// Checks the header, the descriptor and every table.
    pub(super) fn open(input: Input) -> Result<Vmdk> {
        let header = Header::read(&input)?;
        let backing = descriptor::check(&input, &header)?;
        let (table, unpacked) = (Table::default(), Unpacked::default());
        let mut image = Vmdk { input, header, backing, table, unpacked };
        image.survey()?;
        Ok(image)
    }

    /// Reads all tables. No two entries may share a grain, so all that they refer to is never
    /// more than the file has, its holes not counted.
    fn survey(&mut self) -> Result<()> {
        let all = self.input.data_in(0..self.input.len())?;
        let mut used = 0_u64;
        for index in 0..self.header.tables() {
            self.load(index)?;
            if self.table.offset == 0 {
                continue;
            }
            used = used.saturating_add(self.table_data(self.table.offset)?);
            let disk = self.header.range_of_table(index);
            let grain = usize::try_from(self.header.grain).expect("at most 2 MiB");
            for at in disk.step_by(grain) {
                used = used.saturating_add(self.check_grain(at)?);
            }
            if used > all {
                let what = "grains overlap: the tables refer to more than the file has";
                return Err(self.input.damaged(self.table.offset, what));
            }
        }
        Ok(())
    }

    /// Checks the entry of the grain at `at` and returns how many bytes of data in the file are
    /// surely its own.
    fn check_grain(&mut self, at: u64) -> Result<u64> {
        let (Grain::At(offset), range) = self.grain(at)? else { return Ok(0) };
        let len = if self.header.packed { MARKER as u64 + 1 } else { range.end - range.start };
        match offset.checked_add(len) {
            Some(end) if end <= self.input.len() => self.input.data_in(offset..end),
            _ => Err(self.input.damaged(offset, "a grain lies past the end of the file")),
        }
    }

    /// Makes the grain table of this number the one in memory.
    fn load(&mut self, index: u64) -> Result<()> {
        if self.table.index == Some(index) {
            return Ok(());
        }
        self.table.index = None;
        let mut entry = [0; 4];
        self.input.read(&mut entry, self.header.directory + index * 4)?;
        let offset = le::<4>(&entry, 0) * SECTOR;
        let empty = offset == 0 || self.table_data(offset)? == 0;
        if !empty {
            self.table.bytes.resize(bytes(ENTRIES * 4), 0);
            self.input.read(&mut self.table.bytes, offset)?;
        }
        (self.table.index, self.table.offset) = (Some(index), if empty { 0 } else { offset });
        Ok(())
    }

    /// How many bytes of the grain table at `offset` are not in holes.
    fn table_data(&mut self, offset: u64) -> Result<u64> {
        let end = offset + ENTRIES * 4;
        if end > self.input.len() {
            return Err(self.input.damaged(offset, "a grain table lies past the end of the file"));
        }
        self.input.data_in(offset..end)
    }

    /// The grain that has `at`, and which bytes of the disk it is.
    fn grain(&mut self, at: u64) -> Result<(Grain, Range<u64>)> {
        let first = at / self.header.grain * self.header.grain;
        let range = first..(first + self.header.grain).min(self.header.size);
        self.load(at / self.header.reach())?;
        if self.table.offset == 0 {
            return Ok((Grain::Below, range));
        }
        let slot = bytes(at % self.header.reach() / self.header.grain);
        let grain = match le::<4>(&self.table.bytes, slot * 4) {
            0 => Grain::Below,
            1 if self.header.zero_grains => Grain::Zero,
            sector => Grain::At(sector * SECTOR),
        };
        Ok((grain, range))
    }

    fn read_packed(
        &mut self,
        offset: u64,
        range: &Range<u64>,
        from: usize,
        part: &mut [u8],
    ) -> Result<()> {
        let (input, needed) = (&self.input, bytes(range.end - range.start));
        let grain = self.unpacked.get(offset, bytes(self.header.grain), |grain| {
            let mut marker = [0; MARKER];
            input.read(&mut marker, offset)?;
            if le::<8>(&marker, 0) != range.start / SECTOR {
                return Err(input.damaged(offset, "a packed grain is another one"));
            }
            let len = bytes(le::<4>(&marker, 8));
            if len > 2 * grain.len() {
                return Err(input.damaged(offset, "a packed grain is too long"));
            }
            let packed = input.read_up_to(len, offset + MARKER as u64)?;
            match unpack(Method::Zlib, &packed, grain) {
                Ok(count) if count >= needed => Ok(()),
                Ok(_) => Err(input.damaged(offset, "a packed grain is too short")),
                Err(error) => {
                    Err(input.damaged(offset, format!("a grain cannot be unpacked: {error}")))
                }
            }
        })?;
        part.copy_from_slice(&grain[from..from + part.len()]);
        Ok(())
    }
}

impl Image for Vmdk {
    fn size(&self) -> u64 {
        self.header.size
    }

    fn backing(&self) -> Option<&Backing> {
        self.backing.as_ref()
    }

    /// As far as grains of a kind follow each other in one table.
    fn lookup(&mut self, at: u64) -> Result<(Place, u64)> {
        let end = self.header.range_of_table(at / self.header.reach()).end;
        let (packed, (grain, mut range)) = (self.header.packed, self.grain(at)?);
        if self.table.offset == 0 {
            return Ok((Place::Below, end - at));
        }
        while range.end < end {
            let (next, more) = self.grain(range.end)?;
            if next.place(packed) != grain.place(packed) {
                break;
            }
            range = more;
        }
        Ok((grain.place(packed), range.end - at))
    }

    fn read(&mut self, buf: &mut [u8], at: u64) -> Result<()> {
        in_parts(buf, at, |rest, at| {
            let (grain, range) = self.grain(at)?;
            let part = start(rest, range.end - at);
            match grain {
                Grain::At(offset) if self.header.packed => {
                    self.read_packed(offset, &range, bytes(at - range.start), part)?;
                }
                Grain::At(offset) => self.input.read(part, offset + (at - range.start))?,
                Grain::Below | Grain::Zero => part.fill(0),
            }
            Ok(part.len())
        })
    }
}

/// A number that has 32 bits.
fn bytes(count: u64) -> usize {
    usize::try_from(count).expect("grains and their tables fit memory")
}
