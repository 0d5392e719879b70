//! MBRs made by hand; GPTs come from `sfdisk`, in tests/cli/distro.rs.

use std::rc::Rc;

use super::*;

/// Some sectors.
struct Sectors(Vec<u8>);

impl Sectors {
    fn new(count: usize) -> Sectors {
        Sectors(vec![0; count * 512])
    }

    /// Puts an entry into a sector that is a table.
    fn entry(mut self, sector: usize, place: usize, kind: u8, first: u32, count: u32) -> Sectors {
        let start = sector * 512;
        self.0[start + 510..start + 512].copy_from_slice(&[0x55, 0xaa]);
        let entry = &mut self.0[start + 0x1be + place * 16..][..16];
        entry[4] = kind;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..16].copy_from_slice(&count.to_le_bytes());
        self
    }

    fn read(self) -> Option<Table> {
        super::read(&Window::whole(Rc::new(self.0)))
    }
}

/// The numbers of the partitions, and their lengths in sectors.
fn parts(table: &Table) -> Vec<(Option<u32>, u64)> {
    table.partitions.iter().map(|part| (part.number, part.window.len() / SECTOR)).collect()
}

#[test]
fn logical_partitions_are_counted_from_five() {
    let disk = Sectors::new(100).entry(0, 1, 0x83, 1, 9).entry(0, 2, 0x05, 10, 80);
    let disk = disk.entry(10, 0, 0x83, 1, 5).entry(10, 1, 0x05, 20, 10);
    let table = disk.entry(30, 0, 0x83, 2, 7).read().expect("it is one");
    assert_eq!(parts(&table), [(Some(2), 9), (Some(5), 5), (Some(6), 7)]);
    assert!(table.damage.is_empty(), "{:?}", table.damage);
}

#[test]
fn logical_partitions_in_a_circle_come_to_an_end() {
    let disk = Sectors::new(100).entry(0, 0, 0x05, 10, 80).entry(10, 1, 0x05, 0, 80);
    let table = disk.read().expect("it is one");
    assert_eq!(table.damage, ["its list of logical partitions does not end"]);
}

#[test]
fn partition_beyond_the_end_is_left_out_and_named() {
    let disk = Sectors::new(100).entry(0, 0, 0x83, 1, 9).entry(0, 1, 0x83, 90, u32::MAX);
    let table = disk.entry(0, 2, 0x05, u32::MAX, 1).read().expect("it is one");
    assert_eq!(parts(&table), [(Some(1), 9)]);
    let damage =
        ["partition 2 reaches beyond the disk's end", "its list of logical partitions breaks off"];
    assert_eq!(table.damage, damage);
}

#[test]
fn sector_that_only_ends_like_a_table_is_none() {
    assert!(Sectors::new(1).read().is_none());
    assert!(Sectors::new(0).read().is_none());
    let mut boot = Sectors::new(4).entry(0, 0, 0x83, 1, 1);
    boot.0[0x1be] = 0x33;
    assert!(boot.read().is_none());
}

#[test]
fn gpt_that_is_nowhere_is_damage() {
    let table = Sectors::new(100).entry(0, 0, 0xee, 1, 99).read().expect("it says it is one");
    assert!(table.partitions.is_empty());
    assert_eq!(table.damage.len(), 2, "{:?}", table.damage);
}

#[test]
fn gpt_for_large_sectors_is_told_from_a_damaged_one() {
    let mut disk = Sectors::new(100).entry(0, 0, 0xee, 1, 99);
    let entries = [7; 128];
    disk.0[8192..8192 + 128].copy_from_slice(&entries);
    let header = &mut disk.0[4096..4096 + 92];
    header[..8].copy_from_slice(b"EFI PART");
    for (at, number) in [(12, 92), (72, 2), (80, 1), (84, 128)] {
        header[at] = number;
    }
    header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
    let sum = crc32fast::hash(header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    let table = disk.read().expect("it says it is one");
    assert!(table.partitions.is_empty());
    assert!(table.damage[0].contains("sectors of 4096 bytes"), "{:?}", table.damage);
    assert_eq!(table.damage.len(), 1);
}
