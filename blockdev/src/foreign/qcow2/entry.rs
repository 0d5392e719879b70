//! Entries of the two tables, taken apart.
//!
//! ```text
//!   L1   63 copied │ 62..56 zero │ 55..9 offset of an L2 table, 0: none           │ 8..0 zero
//!   L2   63 copied │ 62: 0       │ 61..56 zero │ 55..9 offset of a cluster, or 0  │ 8..1 zero │ 0: zeroes
//!        63: 0     │ 62: packed  │ 61..x sectors less one │ x-1..0 offset              x = 62 - (cluster bits - 8)
//! ```
//! An extended L2 entry has 8 more bytes: a bit *zeroes* and a bit *allocated* for each of 32
//! subclusters; bit 0 of its first half is always 0.

use super::header::Header;
use crate::foreign::chain::Place;
use crate::foreign::input::be;

const PACKED: u64 = 1 << 62;
const COPIED: u64 = 1 << 63;
const ZERO: u64 = 1;
/// Bits 9 to 55.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// Where a cluster, or a subcluster, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapping {
    /// Not in this image.
    Below,
    /// Nowhere: zeroes.
    Zero,
    /// In the file.
    Data { offset: u64 },
    /// In at most `len` bytes of the file; always a whole cluster.
    Packed { offset: u64, len: u64 },
}

impl Mapping {
    pub(super) fn place(self) -> Place {
        match self {
            Mapping::Below => Place::Below,
            Mapping::Zero => Place::Zero,
            Mapping::Data { .. } => Place::Data,
            Mapping::Packed { .. } => Place::Packed,
        }
    }
}

/// Where the L2 table of an L1 entry is; 0: nowhere.
pub(super) fn table_offset(entry: u64, header: &Header) -> Result<u64, &'static str> {
    if entry & !(COPIED | OFFSET) != 0 {
        return Err("an L1 entry has unknown bits");
    }
    aligned(entry & OFFSET, header)
}

/// The mapping of the unit at `at` of the disk, from the start of its entry's bytes.
pub(super) fn decode(bytes: &[u8], header: &Header, at: u64) -> Result<Mapping, &'static str> {
    let entry = be::<8>(bytes, 0);
    let subclusters = header.extended.then(|| be::<8>(bytes, 8));
    if entry & PACKED != 0 {
        return match subclusters {
            Some(1..) => Err("a compressed cluster has subclusters"),
            _ => packed(entry, header),
        };
    }
    let known = if header.version == 2 || header.extended { 0 } else { ZERO };
    if entry & !(COPIED | OFFSET | known) != 0 {
        return Err("an L2 entry has unknown bits");
    }
    let offset = aligned(entry & OFFSET, header)?;
    match subclusters {
        Some(bits) => subcluster(offset, bits, header.subcluster(at), header),
        None if entry & ZERO != 0 => Ok(Mapping::Zero),
        None if offset == 0 => Ok(Mapping::Below),
        None => Ok(Mapping::Data { offset }),
    }
}

fn aligned(offset: u64, header: &Header) -> Result<u64, &'static str> {
    match offset.is_multiple_of(header.cluster()) {
        true => Ok(offset),
        false => Err("an offset is not a multiple of the cluster size"),
    }
}

fn packed(entry: u64, header: &Header) -> Result<Mapping, &'static str> {
    if entry & COPIED != 0 {
        return Err("a compressed cluster is marked as used once");
    }
    let bits = 62 - (header.cluster_bits - 8);
    let offset = entry & ((1 << bits) - 1);
    let sectors = ((entry & !PACKED) >> bits) + 1;
    Ok(Mapping::Packed { offset, len: sectors * 512 - offset % 512 })
}

fn subcluster(
    offset: u64,
    bits: u64,
    index: u32,
    header: &Header,
) -> Result<Mapping, &'static str> {
    let allocated = bits >> index & 1 != 0;
    let zero = bits >> (index + 32) & 1 != 0;
    match (allocated, zero) {
        (true, true) => Err("a subcluster is both zeroes and data"),
        (true, false) if offset == 0 => Err("a subcluster has data, but its cluster has no place"),
        (true, false) => {
            Ok(Mapping::Data { offset: offset + u64::from(index) * (header.cluster() / 32) })
        }
        (false, true) => Ok(Mapping::Zero),
        (false, false) => Ok(Mapping::Below),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign::unpack::Method;

    fn header(version: u32, extended: bool) -> Header {
        Header {
            version,
            cluster_bits: 16,
            size: 1 << 30,
            l1_offset: 0,
            extended,
            method: Method::Deflate,
            backing: None,
        }
    }

    fn standard(entry: u64) -> Result<Mapping, &'static str> {
        decode(&entry.to_be_bytes(), &header(3, false), 0)
    }

    #[test]
    fn standard_entries() {
        assert_eq!(standard(0), Ok(Mapping::Below));
        assert_eq!(standard(1), Ok(Mapping::Zero));
        assert_eq!(standard(COPIED | 0x50001), Ok(Mapping::Zero));
        assert_eq!(standard(COPIED | 0x50000), Ok(Mapping::Data { offset: 0x50000 }));
        assert!(standard(0x50200).is_err(), "not aligned");
        assert!(standard(0x50002).is_err() && standard(1 << 56 | 0x50000).is_err(), "unknown bits");
        assert!(decode(&1_u64.to_be_bytes(), &header(2, false), 0).is_err(), "not in version 2");
    }

    #[test]
    fn compressed_entries_hold_the_offset_in_bytes_and_the_sectors_touched() {
        let entry = PACKED | 2 << 54 | 0x50123;
        assert_eq!(standard(entry), Ok(Mapping::Packed { offset: 0x50123, len: 3 * 512 - 0x123 }));
        assert!(standard(COPIED | entry).is_err());
    }

    #[test]
    fn subclusters() {
        let at = |index: u64| index * 2048;
        let decode = |entry: u64, bits: u64, at| {
            let bytes = [entry.to_be_bytes(), bits.to_be_bytes()].concat();
            decode(&bytes, &header(3, true), at)
        };
        let bits = 1 << 3 | 1 << (32 + 4);
        assert_eq!(decode(0x50000, bits, at(3)), Ok(Mapping::Data { offset: 0x50000 + at(3) }));
        assert_eq!(decode(0x50000, bits, at(4)), Ok(Mapping::Zero));
        assert_eq!(decode(0x50000, bits, at(5)), Ok(Mapping::Below));
        assert!(decode(0, bits, at(3)).is_err() && decode(0x50000, !0, 0).is_err());
        assert!(decode(0x50001, bits, at(3)).is_err(), "the zero bit is in the other half");
        assert!(decode(PACKED | 0x50000, 1, 0).is_err());
    }
}
