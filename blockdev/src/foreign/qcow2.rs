//! qcow2, versions 2 and 3, to be read. QEMU's docs/interop/qcow2.txt has every byte.
//!
//! ```text
//!   at ──► L1 entry ──► L2 table ──► entry ──► data cluster | packed bytes | zeroes | below
//! ```
//!
//! Only the current state is read; internal snapshots, bitmaps and reference counts are not looked
//! at.

mod entry;
mod header;

use std::collections::HashSet;
use std::ops::Range;

use super::chain::{Backing, Image, Place, in_parts, start};
use super::input::{Input, be};
use super::unpack::{Unpacked, unpack};
use crate::Result;
use entry::Mapping;
use header::Header;

/// An image whose tables are sound.
#[derive(Debug)]
pub(super) struct Qcow2 {
    input: Input,
    header: Header,
    table: Table,
    run: Run,
    unpacked: Unpacked,
}

/// Units in a row that are of a kind. A run may be a whole table, and is asked for in parts.
#[derive(Debug)]
struct Run {
    disk: Range<u64>,
    place: Place,
}

/// The L2 table that was used last.
#[derive(Debug, Default)]
struct Table {
    /// Its number; none has been read where this is `None`.
    index: Option<u64>,
    /// Where it is in the file; zero: it has no entries, and nothing in `bytes`.
    offset: u64,
    bytes: Vec<u8>,
}

impl Qcow2 {
    /// Checks the header and every table.
    pub(super) fn open(input: Input) -> Result<Qcow2> {
        let header = Header::read(&input)?;
        let (table, unpacked) = (Table::default(), Unpacked::default());
        let run = Run { disk: 0..0, place: Place::Below };
        let mut image = Qcow2 { input, header, table, run, unpacked };
        image.survey()?;
        Ok(image)
    }

    /// Reads all tables. No two entries may share a cluster, so all that they refer to is never
    /// more than the file has: a small file cannot claim to be full of data. A file may be long
    /// and yet small, so holes count for nothing.
    fn survey(&mut self) -> Result<()> {
        let all = self.input.data_in(0..self.input.len())?;
        let (mut used, mut packed) = (0_u64, HashSet::new());
        for index in 0..self.header.tables() {
            self.load(index)?;
            if self.table.offset == 0 {
                continue;
            }
            used = used.saturating_add(self.table_data(self.table.offset)?);
            // Of one table: what that leaves, a use by each table, costs the image a table each.
            packed.clear();
            let disk = self.header.range_of_table(index);
            for at in disk.clone().step_by(self.header.cluster_len()) {
                used = used.saturating_add(self.check_cluster(at, &mut packed)?);
            }
            if used > all {
                let what = "clusters overlap: the tables refer to more than the file has";
                return Err(self.input.damaged(self.table.offset, what));
            }
        }
        Ok(())
    }

    /// Checks the entry of the cluster at `at` and returns how many bytes of data in the file are
    /// surely its own. `packed` are the places of packed clusters so far.
    fn check_cluster(&mut self, at: u64, packed: &mut HashSet<u64>) -> Result<u64> {
        let mut own = 0;
        for unit in self.header.units_of_cluster(at) {
            match self.mapping(unit.start)?.0 {
                Mapping::Below | Mapping::Zero => {}
                Mapping::Data { offset } => {
                    let len = unit.end - unit.start;
                    self.check_within(offset, len)?;
                    own += self.input.data_in(offset..offset + len)?;
                }
                Mapping::Packed { offset, len } => {
                    self.check_within(offset, 1)?;
                    if !packed.insert(offset) {
                        let what = "clusters overlap: two are the same compressed bytes";
                        return Err(self.input.damaged(offset, what));
                    }
                    // The last of its sectors may be the next one's first.
                    let end = offset + len.saturating_sub(511);
                    return Ok(self.input.data_in(offset..end)?.max(1));
                }
            }
        }
        Ok(own)
    }

    fn check_within(&self, offset: u64, len: u64) -> Result<()> {
        if offset < self.header.cluster() {
            return Err(self.input.damaged(offset, "a cluster lies over the header"));
        }
        match offset.checked_add(len) {
            Some(end) if end <= self.input.len() => Ok(()),
            _ => Err(self.input.damaged(offset, "a cluster lies past the end of the file")),
        }
    }

    /// Makes the L2 table of this number the one in memory.
    fn load(&mut self, index: u64) -> Result<()> {
        if self.table.index == Some(index) {
            return Ok(());
        }
        self.table.index = None;
        let mut entry = [0; 8];
        let at = self.header.l1_offset + index * 8;
        self.input.read(&mut entry, at)?;
        let offset = entry::table_offset(be::<8>(&entry, 0), &self.header)
            .map_err(|what| self.input.damaged(at, what))?;
        let empty = offset == 0 || self.table_data(offset)? == 0;
        if !empty {
            self.table.bytes.resize(self.header.cluster_len(), 0);
            self.input.read(&mut self.table.bytes, offset)?;
        }
        (self.table.index, self.table.offset) = (Some(index), if empty { 0 } else { offset });
        Ok(())
    }

    /// How many bytes of the L2 table at `offset` are not in holes.
    fn table_data(&mut self, offset: u64) -> Result<u64> {
        self.check_within(offset, self.header.cluster())?;
        self.input.data_in(offset..offset + self.header.cluster())
    }

    /// Where the unit (a cluster, or part of one) that has `at` is, and which bytes of the disk it
    /// is.
    fn mapping(&mut self, at: u64) -> Result<(Mapping, Range<u64>)> {
        let (index, slot) = self.header.slot(at);
        let unit = self.header.unit(at);
        self.load(index)?;
        if self.table.offset == 0 {
            return Ok((Mapping::Below, unit));
        }
        let place = slot * self.header.entry_len();
        let mapping = entry::decode(&self.table.bytes[place..], &self.header, unit.start);
        let complain = |what| self.input.damaged(self.table.offset + place as u64, what);
        Ok((mapping.map_err(complain)?, unit))
    }

    fn read_packed(&mut self, offset: u64, len: u64, from: usize, part: &mut [u8]) -> Result<()> {
        let (input, method) = (&self.input, self.header.method);
        let cluster = self.unpacked.get(offset, self.header.cluster_len(), |cluster| {
            let packed = input.read_up_to(bytes(len), offset)?;
            match unpack(method, &packed, cluster) {
                Ok(count) if count == cluster.len() => Ok(()),
                Ok(_) => Err(input.damaged(offset, "a compressed cluster is too short")),
                Err(error) => {
                    Err(input.damaged(offset, format!("a cluster cannot be unpacked: {error}")))
                }
            }
        })?;
        part.copy_from_slice(&cluster[from..from + part.len()]);
        Ok(())
    }
}

impl Image for Qcow2 {
    fn size(&self) -> u64 {
        self.header.size
    }

    fn backing(&self) -> Option<&Backing> {
        self.header.backing.as_ref()
    }

    /// As far as units of a kind follow each other in one table.
    fn lookup(&mut self, at: u64) -> Result<(Place, u64)> {
        if self.run.disk.contains(&at) {
            return Ok((self.run.place, self.run.disk.end - at));
        }
        let end = self.header.range_of_table(self.header.slot(at).0).end;
        let (mapping, mut unit) = self.mapping(at)?;
        let place = mapping.place();
        if self.table.offset == 0 {
            unit.end = end;
        }
        while unit.end < end {
            let (next, range) = self.mapping(unit.end)?;
            if next.place() != place {
                break;
            }
            unit = range;
        }
        self.run = Run { disk: at..unit.end, place };
        Ok((place, unit.end - at))
    }

    fn read(&mut self, buf: &mut [u8], at: u64) -> Result<()> {
        in_parts(buf, at, |rest, at| {
            let (mapping, unit) = self.mapping(at)?;
            let part = start(rest, unit.end - at);
            match mapping {
                Mapping::Data { offset } => self.input.read(part, offset + (at - unit.start))?,
                Mapping::Packed { offset, len } => {
                    // Packed as a whole cluster, even where units are smaller.
                    let from = bytes(at % self.header.cluster());
                    self.read_packed(offset, len, from, part)?;
                }
                Mapping::Below | Mapping::Zero => part.fill(0),
            }
            Ok(part.len())
        })
    }
}

/// A number of bytes no larger than two clusters.
fn bytes(count: u64) -> usize {
    usize::try_from(count).expect("clusters fit memory")
}
