//! Partition tables: which parts a disk has. GPT, MBR, or none.

mod gpt;
mod mbr;

use crate::disk::Window;

/// Partitions that are looked at; there are hardly ever more than twenty.
const MOST: usize = 128;

/// A part of a disk, or all of it.
pub(crate) struct Partition {
    /// As Linux counts them; `None` is the whole disk.
    pub number: Option<u32>,
    /// What `PARTUUID=` names it by.
    pub uuid: Option<String>,
    /// Where it is.
    pub window: Window,
}

/// What was read of a table.
#[derive(Default)]
pub(crate) struct Table {
    /// In the order of their numbers.
    pub partitions: Vec<Partition>,
    /// What is wrong with it, for people.
    pub damage: Vec<String>,
}

impl Table {
    /// Adds a partition of `count` sectors, or says that it is not on the disk.
    fn add(&mut self, disk: &Window, number: u32, uuid: Option<String>, first: u64, count: u64) {
        let start = first.checked_mul(SECTOR);
        let window = start.zip(count.checked_mul(SECTOR)).and_then(|(at, len)| disk.part(at, len));
        match window {
            Some(window) if self.partitions.len() < MOST => {
                self.partitions.push(Partition { number: Some(number), uuid, window });
            }
            Some(_) => {}
            None => self.damage.push(format!("partition {number} reaches beyond the disk's end")),
        }
    }
}

/// The unit of partition tables, bytes: what a guest's disk has.
const SECTOR: u64 = 512;

/// Reads the table of `disk`, if it has one.
pub(crate) fn read(disk: &Window) -> Option<Table> {
    let mut table = mbr::read(disk)?;
    if table.protects_gpt {
        table.table = gpt::read(disk);
    }
    Some(table.table)
}

#[cfg(test)]
mod tests;
