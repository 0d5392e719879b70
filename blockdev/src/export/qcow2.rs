//! Writes qcow2, version 3, in one pass. QEMU's docs/interop/qcow2.txt has every byte.
//!
//! ```text
//!   0         cluster 1      ..                                                      end
//!   ┌────────┬───────────┬──────┬──────┬──────────┬──────┬───┬──────────┬────────────────┐
//!   │ header │ L1 table  │ data │ data │ L2 table │ data │ … │ L2 table │ refcount       │
//!   │        │           │      │      │ of these │      │   │          │ blocks, table  │
//!   └────────┴───────────┴──────┴──────┴──────────┴──────┴───┴──────────┴────────────────┘
//! ```
//!
//! Every cluster of the file has the reference count 1, but for those that packed clusters lie in one
//! after the other: these count them. The same disk gives the same file.

use std::ops::Range;
use std::path::Path;

use crate::copy::{Source, Stretch, Watch, for_each_stretch, runs_of_data, tell};
use crate::io::Storage;
use crate::{Error, Result};

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
const CLUSTER_LEN: usize = 1 << CLUSTER_BITS;
const HEADER_LEN: u32 = 112;
/// Entries in an L2 table.
const L2_ENTRIES: u64 = CLUSTER / 8;
/// Bytes of the disk that an L2 table speaks of.
const REACH: u64 = L2_ENTRIES * CLUSTER;
/// Counts in a refcount block: 16 bits each.
const COUNTS: u64 = CLUSTER / 2;
const SECTOR: u64 = 512;
/// The cluster is used once.
const COPIED: u64 = 1 << 63;
/// The cluster is packed: sectors less one from bit 54 on, its place below.
const PACKED: u64 = 1 << 62;
const SECTORS: u32 = 62 - (CLUSTER_BITS - 8);
/// How hard zstd tries; its usual.
const LEVEL: i32 = 3;
/// The incompatible feature that names the kind of compression, bit 3.
const COMPRESSION: u64 = 1 << 3;

/// How clusters are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clusters {
    /// As they are.
    Plain,
    /// By zstd, where that makes them smaller.
    Packed,
}

/// Writes all of `source` to `target`, which is empty and called `path`.
pub(super) fn write(
    source: &mut dyn Source,
    target: &dyn Storage,
    path: &Path,
    clusters: Clusters,
    watch: Watch<'_>,
) -> Result<()> {
    let size = source.size();
    let mut writer = Writer::new(target, path, size, clusters);
    for_each_stretch(source, CLUSTER, &mut |range, stretch| {
        if let Stretch::Data(bytes) = stretch {
            writer.data(bytes, range.start)?;
        }
        tell(watch, range.end, size)
    })?;
    writer.finish()
}

struct Writer<'a> {
    target: &'a dyn Storage,
    path: &'a Path,
    /// Of the disk, in whole sectors.
    size: u64,
    /// One entry for each L2 table.
    l1: Vec<u64>,
    /// The L2 table being filled, and its number.
    l2: Vec<u64>,
    index: u64,
    /// Where the next cluster goes.
    end: u64,
    /// How often each cluster before that is used.
    counts: Vec<u16>,
    clusters: Clusters,
    /// Where the next packed cluster may go.
    room: Range<u64>,
}

impl<'a> Writer<'a> {
    fn new(target: &'a dyn Storage, path: &'a Path, size: u64, clusters: Clusters) -> Writer<'a> {
        let size = size.next_multiple_of(SECTOR);
        let l1 = vec![0; len(size.div_ceil(REACH))];
        let end = CLUSTER + (l1.len() as u64 * 8).next_multiple_of(CLUSTER);
        let (l2, counts) = (vec![0; len(L2_ENTRIES)], vec![1; len(end / CLUSTER)]);
        Writer { target, path, size, l1, l2, index: 0, end, counts, clusters, room: 0..0 }
    }

    /// Takes `bytes` of the disk in, from a cluster's start on and in order.
    fn data(&mut self, bytes: &[u8], at: u64) -> Result<()> {
        for run in runs_of_data(bytes, CLUSTER_LEN) {
            let mut disk = at + run.start as u64;
            for cluster in bytes[run].chunks(CLUSTER_LEN) {
                self.cluster(cluster, disk)?;
                disk += CLUSTER;
            }
        }
        Ok(())
    }

    fn cluster(&mut self, bytes: &[u8], at: u64) -> Result<()> {
        if at / REACH != self.index {
            self.finish_table()?;
            self.index = at / REACH;
        }
        let entry = match self.clusters {
            Clusters::Plain => COPIED | self.append(bytes)?,
            Clusters::Packed => self.pack(bytes)?,
        };
        self.l2[len(at / CLUSTER % L2_ENTRIES)] = entry;
        Ok(())
    }

    /// Writes a cluster in less than a cluster, if it can be, and returns its entry.
    fn pack(&mut self, bytes: &[u8]) -> Result<u64> {
        // The last one of a disk is packed whole, too.
        let mut whole = bytes.to_vec();
        whole.resize(CLUSTER_LEN, 0);
        let cannot = |error| Error::write(self.path, self.end)(error);
        let packed = zstd::bulk::compress(&whole, LEVEL).map_err(cannot)?;
        if packed.len() + len(SECTOR) > CLUSTER_LEN {
            return Ok(COPIED | self.append(bytes)?);
        }
        let offset = self.place(packed.len() as u64);
        self.put(&packed, offset)?;
        let end = (offset + packed.len() as u64).next_multiple_of(SECTOR);
        let sectors = end / SECTOR - offset / SECTOR;
        // A sector belongs to all that have a byte in it.
        for cluster in offset / CLUSTER..end.div_ceil(CLUSTER) {
            self.counts[len(cluster)] += 1;
        }
        Ok(PACKED | (sectors - 1) << SECTORS | offset)
    }

    /// Where `count` packed bytes go: behind the last ones, as far as there is room or can be.
    fn place(&mut self, count: u64) -> u64 {
        let missing = |room: &Range<u64>| {
            count.saturating_sub(room.end - room.start).next_multiple_of(CLUSTER)
        };
        if missing(&self.room) > 0 {
            if self.room.end != self.end {
                self.room = self.end..self.end;
            }
            self.end += missing(&self.room);
            self.room.end = self.end;
            self.counts.resize(len(self.end / CLUSTER), 0);
        }
        let offset = self.room.start;
        self.room.start += count;
        offset
    }

    /// Writes the L2 table out, if there is anything in it.
    fn finish_table(&mut self) -> Result<()> {
        if self.l2.iter().all(|&entry| entry == 0) {
            return Ok(());
        }
        let bytes = big_endian(&self.l2);
        self.l1[len(self.index)] = COPIED | self.append(&bytes)?;
        self.l2.fill(0);
        Ok(())
    }

    /// Writes the next cluster and returns where that is.
    fn append(&mut self, bytes: &[u8]) -> Result<u64> {
        let offset = self.end;
        self.put(bytes, offset)?;
        self.end += CLUSTER;
        self.counts.push(1);
        Ok(offset)
    }

    fn put(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.target.write_all_at(bytes, at).map_err(Error::write(self.path, at))
    }

    fn finish(mut self) -> Result<()> {
        self.finish_table()?;
        self.put(&big_endian(&self.l1), CLUSTER)?;
        let (table, clusters) = self.refcounts()?;
        self.put(&self.header(table, clusters), 0)?;
        // The last cluster may be data that ends within it.
        self.target.set_len(self.end).map_err(Error::write(self.path, self.end))
    }

    /// Writes the reference counts and returns where their table is and how many clusters it has.
    fn refcounts(&mut self) -> Result<(u64, u64)> {
        let used = self.end / CLUSTER;
        let (blocks, table) = room_for_counts(used);
        self.counts.resize(len(used + blocks + table), 1);
        let first = self.end;
        for counts in self.counts.chunks(len(COUNTS)) {
            let counts: Vec<u8> = counts.iter().flat_map(|count| count.to_be_bytes()).collect();
            self.put(&counts, self.end)?;
            self.end += CLUSTER;
        }
        let entries: Vec<u64> = (0..blocks).map(|block| first + block * CLUSTER).collect();
        let offset = self.end;
        self.put(&big_endian(&entries), offset)?;
        self.end += table * CLUSTER;
        Ok((offset, table))
    }

    fn header(&self, refcount_table: u64, refcount_clusters: u64) -> Vec<u8> {
        let small = |number: u64| u32::try_from(number).expect("at most 2^17 tables");
        let mut bytes = b"QFI\xfb".to_vec();
        let mut put = |field: &[u8]| bytes.extend_from_slice(field);
        put(&3_u32.to_be_bytes());
        put(&[0; 12]); // no backing file
        put(&CLUSTER_BITS.to_be_bytes());
        put(&self.size.to_be_bytes());
        put(&[0; 4]); // not encrypted
        put(&small(self.l1.len() as u64).to_be_bytes());
        put(&CLUSTER.to_be_bytes());
        put(&refcount_table.to_be_bytes());
        put(&small(refcount_clusters).to_be_bytes());
        put(&[0; 12]); // no snapshots
        let packed = self.clusters == Clusters::Packed;
        put(&(if packed { COMPRESSION } else { 0 }).to_be_bytes());
        put(&[0; 16]); // no other features
        put(&4_u32.to_be_bytes()); // counts of 16 bits
        put(&HEADER_LEN.to_be_bytes());
        put(&[u8::from(packed), 0, 0, 0, 0, 0, 0, 0]); // zstd; else deflate, were anything packed
        put(&[0; 8]); // no extensions
        bytes
    }
}

/// How many refcount blocks, and clusters of their table, count `used` clusters and themselves.
fn room_for_counts(used: u64) -> (u64, u64) {
    let (mut blocks, mut table) = (1, 1);
    loop {
        let wanted = (used + blocks + table).div_ceil(COUNTS);
        if wanted <= blocks {
            return (blocks, table);
        }
        blocks = wanted;
        table = (blocks * 8).div_ceil(CLUSTER);
    }
}

fn big_endian(entries: &[u64]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_be_bytes()).collect()
}

/// The length of something in memory: tables of a disk of at most 64 TiB.
fn len(count: u64) -> usize {
    usize::try_from(count).expect("tables fit memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refcounts_count_themselves() {
        for used in [1, COUNTS - 2, COUNTS - 1, COUNTS, 2 * COUNTS - 3, 1 << 30] {
            let (blocks, table) = room_for_counts(used);
            assert!(blocks * COUNTS >= used + blocks + table, "{used}");
            assert!((blocks - 1) * COUNTS < used + blocks + table, "{used}");
            assert!(table * CLUSTER >= blocks * 8, "{used}");
        }
    }
}
