//! The header: what is read, what is refused, and the arithmetic that follows from it.

use std::ops::Range;

use super::super::chain::Backing;
use super::super::input::{Input, be};
use super::super::unpack::Method;
use crate::Result;
use crate::delta::MAX_SIZE;

const LEN_2: usize = 72;
const LEN_3: usize = 104;
/// What QEMU reads of an L1 table; 32 MiB are 4 Mi entries.
const LONGEST_L1: u64 = 32 << 20;
const LONGEST_NAME: u64 = 1023;
/// The header extension with the backing file's format.
const BACKING_FORMAT: u64 = 0xe279_2aca;

const REPAIR: &str = "repair a copy: qemu-img check -r all FILE";
const CONVERT: &str = "convert it: qemu-img convert -f qcow2 -O raw FILE disk.raw";

/// Incompatible features, bits.
const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED: u64 = 1 << 4;

/// What reading needs to know. Every number has been checked.
#[derive(Debug)]
pub(super) struct Header {
    /// 2 or 3.
    pub(super) version: u32,
    /// 9 to 21.
    pub(super) cluster_bits: u32,
    /// The disk's length in bytes.
    pub(super) size: u64,
    /// Where the L1 table is; it lies within the file.
    pub(super) l1_offset: u64,
    /// Clusters have 32 subclusters, and entries are twice as long.
    pub(super) extended: bool,
    /// How compressed clusters are.
    pub(super) method: Method,
    /// The image below.
    pub(super) backing: Option<Backing>,
}

impl Header {
    pub(super) fn read(input: &Input) -> Result<Header> {
        let bytes = input.read_up_to(LEN_3 + 8, 0)?;
        if bytes.len() < LEN_2 || !bytes.starts_with(b"QFI\xfb") {
            return Err(input.damaged(0, "it has no qcow2 header"));
        }
        let version = version(input, &bytes)?;
        let header_len = if version == 2 { LEN_2 as u64 } else { be::<4>(&bytes, 100) };
        let cluster_bits = cluster_bits(input, &bytes)?;
        if version == 3 && !(LEN_3 as u64..=1 << cluster_bits).contains(&header_len) {
            return Err(input.damaged(100, "its header has an impossible length"));
        }
        let features = if version == 2 { 0 } else { be::<8>(&bytes, 72) };
        refuse_features(input, &bytes, features)?;
        let header = Header {
            version,
            cluster_bits,
            size: be::<8>(&bytes, 24),
            l1_offset: be::<8>(&bytes, 40),
            extended: features & EXTENDED != 0,
            method: method(input, &bytes, features, header_len)?,
            backing: backing(input, &bytes, header_len, cluster_bits)?,
        };
        header.check(input, be::<4>(&bytes, 36))?;
        Ok(header)
    }

    fn check(&self, input: &Input, l1_entries: u64) -> Result<()> {
        if self.extended && self.cluster_bits < 14 {
            return Err(input.damaged(20, "its clusters are too small for subclusters"));
        }
        if self.size > MAX_SIZE {
            let what = format!("its disk of {} bytes is larger than 64 TiB", self.size);
            return Err(input.unsupported(what, "make it smaller where it was made"));
        }
        if !self.size.is_multiple_of(512) {
            return Err(input.damaged(24, "its disk is not whole sectors"));
        }
        if l1_entries < self.tables() || l1_entries * 8 > LONGEST_L1 {
            return Err(input.damaged(36, "its L1 table has an impossible length"));
        }
        let end = self.l1_offset.checked_add(self.tables() * 8);
        if !self.l1_offset.is_multiple_of(self.cluster()) || end.is_none_or(|end| end > input.len())
        {
            return Err(input.damaged(40, "its L1 table is not where it can be"));
        }
        Ok(())
    }

    /// Bytes in a cluster.
    pub(super) fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// The same, as a length in memory; also of an L2 table.
    pub(super) fn cluster_len(&self) -> usize {
        1 << self.cluster_bits
    }

    /// Bytes in an L2 entry.
    pub(super) fn entry_len(&self) -> usize {
        if self.extended { 16 } else { 8 }
    }

    /// Bytes of the disk that one L2 table speaks of.
    fn reach(&self) -> u64 {
        (self.cluster() / self.entry_len() as u64) << self.cluster_bits
    }

    /// How many L2 tables the disk can have.
    pub(super) fn tables(&self) -> u64 {
        self.size.div_ceil(self.reach())
    }

    /// The bytes of the disk that an L2 table speaks of.
    pub(super) fn range_of_table(&self, index: u64) -> Range<u64> {
        let start = index * self.reach();
        start..(start + self.reach()).min(self.size)
    }

    /// Which L2 table speaks of the byte at `at`, and which of its entries.
    pub(super) fn slot(&self, at: u64) -> (u64, usize) {
        let entry = at % self.reach() / self.cluster();
        (at / self.reach(), usize::try_from(entry).expect("a table fits memory"))
    }

    /// Bytes that are mapped as one: a cluster, or a subcluster.
    fn unit_len(&self) -> u64 {
        if self.extended { self.cluster() / 32 } else { self.cluster() }
    }

    /// The unit that has the byte at `at`, as far as the disk goes.
    pub(super) fn unit(&self, at: u64) -> Range<u64> {
        let start = at / self.unit_len() * self.unit_len();
        start..(start + self.unit_len()).min(self.size)
    }

    /// The units of the cluster that starts at `at`.
    pub(super) fn units_of_cluster(&self, at: u64) -> impl Iterator<Item = Range<u64>> + use<> {
        let (len, size) = (self.unit_len(), self.size);
        let starts = (at..(at + self.cluster()).min(size))
            .step_by(usize::try_from(len).expect("a cluster fits memory"));
        starts.map(move |start| start..(start + len).min(size))
    }

    /// Which subcluster of its cluster has the byte at `at`.
    pub(super) fn subcluster(&self, at: u64) -> u32 {
        u32::try_from(at % self.cluster() / (self.cluster() / 32)).expect("0 to 31")
    }
}

fn version(input: &Input, bytes: &[u8]) -> Result<u32> {
    match be::<4>(bytes, 4) {
        2 => Ok(2),
        3 if bytes.len() < LEN_3 => Err(input.damaged(0, "its header is cut off")),
        3 => Ok(3),
        other => Err(input.unsupported(format!("it is qcow2 of version {other}"), CONVERT)),
    }
}

fn cluster_bits(input: &Input, bytes: &[u8]) -> Result<u32> {
    match u32::try_from(be::<4>(bytes, 20)) {
        Ok(bits @ 9..=21) => Ok(bits),
        _ => Err(input.damaged(20, "its cluster size is impossible")),
    }
}

fn refuse_features(input: &Input, bytes: &[u8], features: u64) -> Result<()> {
    if be::<4>(bytes, 32) != 0 {
        return Err(input.unsupported("it is encrypted", CONVERT));
    }
    if features & CORRUPT != 0 {
        return Err(input.damaged(72, "it is marked as corrupt"));
    }
    if features & DIRTY != 0 {
        return Err(input.unsupported("it was not closed cleanly, or is in use", REPAIR));
    }
    if features & DATA_FILE != 0 {
        return Err(input.unsupported("its data is in another file", CONVERT));
    }
    match features & !(COMPRESSION | EXTENDED) {
        0 => Ok(()),
        more => Err(input.unsupported(format!("it has unknown features {more:#x}"), CONVERT)),
    }
}

fn method(input: &Input, bytes: &[u8], features: u64, header_len: u64) -> Result<Method> {
    let kind = if header_len > LEN_3 as u64 { be::<1>(bytes, 104) } else { 0 };
    match (features & COMPRESSION != 0, kind) {
        (false, 0) => Ok(Method::Deflate),
        (true, 1) => Ok(Method::Zstd),
        (true, 2..) => Err(input.unsupported("its compression is unknown", CONVERT)),
        _ => Err(input.damaged(104, "its kind of compression contradicts its features")),
    }
}

fn backing(input: &Input, bytes: &[u8], header_len: u64, bits: u32) -> Result<Option<Backing>> {
    let (offset, len) = (be::<8>(bytes, 8), be::<4>(bytes, 16));
    if offset == 0 {
        return Ok(None);
    }
    if len > LONGEST_NAME || offset.checked_add(len).is_none_or(|end| end > 1 << bits) {
        return Err(input.damaged(8, "the name of its backing file is not in the header"));
    }
    let mut name = vec![0; usize::try_from(len).expect("at most 1023")];
    input.read(&mut name, offset)?;
    let format = extension(input, header_len..offset, BACKING_FORMAT)?;
    Ok(Some(Backing { name: String::from_utf8_lossy(&name).into_owned(), format }))
}

/// The text of a header extension.
fn extension(input: &Input, within: Range<u64>, wanted: u64) -> Result<Option<String>> {
    let mut at = within.start;
    while at + 8 <= within.end {
        let mut head = [0; 8];
        input.read(&mut head, at)?;
        let (kind, len) = (be::<4>(&head, 0), be::<4>(&head, 4));
        if kind == 0 {
            break;
        }
        if at + 8 + len > within.end {
            return Err(input.damaged(at, "a header extension is too long"));
        }
        if kind == wanted {
            let mut text = vec![0; usize::try_from(len).expect("within the header's cluster")];
            input.read(&mut text, at + 8)?;
            return Ok(Some(String::from_utf8_lossy(&text).into_owned()));
        }
        at += 8 + len.next_multiple_of(8);
    }
    Ok(None)
}
