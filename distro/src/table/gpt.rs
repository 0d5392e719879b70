//! GPT: a header in the second sector, its copy in the last, and an array of entries for each.
//! UEFI 2.10, 5.3.
//!
//! ```text
//!   header  +0 "EFI PART"  +12 length  +16 CRC of it  +72 first sector of the entries
//!           +80 how many   +84 bytes of each          +88 CRC of them
//!   entry   +0 type (zero: unused)  +16 its own UUID  +32 first sector  +40 last sector
//! ```

use uuid::Uuid;

use super::{SECTOR, Table};
use crate::bytes::{array, u32, u64};
use crate::disk::Window;

/// The other size of sectors that disks have, bytes.
const LARGE: u64 = 4096;
/// Of all entries, bytes; what is usual has 16 KiB.
const LARGEST: u32 = 1 << 20;

struct Entries {
    bytes: Vec<u8>,
    each: usize,
}

/// Reads the GPT of `disk`: the first one, or its copy.
pub(super) fn read(disk: &Window) -> Table {
    let mut table = Table::default();
    let last = disk.len() / SECTOR;
    let first = entries(disk, 1, SECTOR);
    if first.is_none() && entries(disk, 1, LARGE).is_some() {
        let what = "its GPT is for sectors of 4096 bytes, and a guest's disk has 512: \
                    no guest would find its partitions";
        table.damage.push(what.into());
        return table;
    }
    let entries = first.or_else(|| {
        table.damage.push("the GPT at its start is damaged".into());
        entries(disk, last.checked_sub(1)?, SECTOR)
    });
    let Some(entries) = entries else {
        table.damage.push("the GPT's copy at its end is missing or damaged, too".into());
        return table;
    };
    for (number, entry) in (1..).zip(entries.bytes.chunks_exact(entries.each)) {
        add(&mut table, disk, number, entry);
    }
    table
}

fn add(table: &mut Table, disk: &Window, number: u32, entry: &[u8]) {
    if array::<16>(entry, 0) == [0; 16] {
        return;
    }
    let uuid = Uuid::from_bytes_le(array(entry, 16)).to_string();
    let (first, last) = (u64(entry, 32), u64(entry, 40));
    let count = last.checked_sub(first).and_then(|count| count.checked_add(1));
    table.add(disk, number, Some(uuid), first, count.unwrap_or(u64::MAX));
}

/// The entries that the header in this sector has; `None` where either is damaged. Sectors have
/// `unit` bytes.
fn entries(disk: &Window, sector: u64, unit: u64) -> Option<Entries> {
    let header = disk.bytes::<512>(sector.checked_mul(unit)?).ok()?;
    let len = usize::try_from(u32(&header, 12)).ok().filter(|len| (92..=512).contains(len))?;
    let mut summed = header.get(..len)?.to_vec();
    summed.get_mut(16..20)?.fill(0);
    if !header.starts_with(b"EFI PART") || crc32fast::hash(&summed) != u32(&header, 16) {
        return None;
    }
    let (count, each) = (u32(&header, 80), u32(&header, 84));
    let size = count.checked_mul(each).filter(|size| *size <= LARGEST && each >= 128)?;
    let bytes = disk.vec(u64(&header, 72).checked_mul(unit)?, usize::try_from(size).ok()?);
    let bytes = bytes.ok().filter(|bytes| crc32fast::hash(bytes) == u32(&header, 88))?;
    Some(Entries { bytes, each: usize::try_from(each).ok()? })
}
