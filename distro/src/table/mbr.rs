//! MBR: four entries in the first sector, and a chain of sectors for logical partitions.
//!
//! ```text
//!   0x1b8  the disk's signature          entry, 16 bytes, four from 0x1be on
//!   0x1be  entries                         +0  0x80 boot, 0 not; nothing else
//!   0x1fe  55 aa                           +4  type: 0 unused, 5 0f 85 extended, ee GPT
//!                                          +8  first sector   +12  sectors
//! ```

use super::{SECTOR, Table};
use crate::bytes::{u16, u32};
use crate::disk::Window;

const ENTRIES: [usize; 4] = [0x1be, 0x1ce, 0x1de, 0x1ee];
const GPT: u8 = 0xee;
/// Logical partitions followed; each costs a read.
const LOGICAL: u32 = 60;

/// A table, or the stand-in for a GPT.
pub(super) struct Mbr {
    pub table: Table,
    /// Whether the partitions are elsewhere.
    pub protects_gpt: bool,
}

struct Entry {
    kind: u8,
    first: u64,
    count: u64,
}

impl Entry {
    /// `None` for what no table holds. A FAT filesystem's first sector ends with 55 aa, too.
    fn parse(sector: &[u8; 512], at: usize) -> Option<Entry> {
        let boot = *sector.get(at)?;
        let kind = *sector.get(at + 4)?;
        let first = u64::from(u32(sector, at + 8));
        let count = u64::from(u32(sector, at + 12));
        (boot & 0x7f == 0).then_some(Entry { kind, first, count })
    }

    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }

    fn is_used(&self) -> bool {
        self.kind != 0 && self.count > 0
    }
}

/// Reads the MBR of `disk`; `None` where there is none.
pub(super) fn read(disk: &Window) -> Option<Mbr> {
    let sector = disk.bytes::<512>(0).ok()?;
    let entries = entries(&sector)?;
    if !entries.iter().any(|entry| entry.is_used() && entry.first > 0) {
        return None;
    }
    let protects_gpt = entries.iter().any(|entry| entry.kind == GPT);
    let signature = u32(&sector, 0x1b8);
    let uuid = |number: u32| (signature != 0).then(|| format!("{signature:08x}-{number:02x}"));
    let mut table = Table::default();
    for (number, entry) in (1..).zip(&entries) {
        if entry.is_used() && !entry.is_extended() && !protects_gpt {
            table.add(disk, number, uuid(number), entry.first, entry.count);
        }
    }
    if let Some(extended) = entries.iter().find(|entry| entry.is_used() && entry.is_extended()) {
        follow(disk, extended.first, &mut table, uuid);
    }
    Some(Mbr { table, protects_gpt })
}

/// The four entries of a sector; `None` when it is no such sector.
fn entries(sector: &[u8; 512]) -> Option<Vec<Entry>> {
    if u16(sector, 0x1fe) != 0xaa55 {
        return None;
    }
    ENTRIES.into_iter().map(|at| Entry::parse(sector, at)).collect()
}

/// Logical partitions: in each sector of the chain one entry for it, counted from that sector, and
/// one for the next sector, counted from the extended partition's first.
fn follow(disk: &Window, base: u64, table: &mut Table, uuid: impl Fn(u32) -> Option<String>) {
    let mut at = base;
    for number in 5..5 + LOGICAL {
        let sector = at.checked_mul(SECTOR).and_then(|at| disk.bytes::<512>(at).ok());
        let Some(entries) = sector.as_ref().and_then(entries) else {
            table.damage.push("its list of logical partitions breaks off".into());
            return;
        };
        let mut next = None;
        for entry in entries.iter().take(2).filter(|entry| entry.is_used()) {
            match entry.is_extended() {
                true => next = Some(base + entry.first),
                false => table.add(disk, number, uuid(number), at + entry.first, entry.count),
            }
        }
        match next {
            Some(next) => at = next,
            None => return,
        }
    }
    table.damage.push("its list of logical partitions does not end".into());
}
