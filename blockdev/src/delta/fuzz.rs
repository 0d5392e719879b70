//! What the fuzzer does to headers and bitmaps.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::format::{BLOCK, COPIES, Header, SECTOR, SECTOR_LEN, SectorBits, SectorBytes};
use super::{Delta, load};
use crate::fuzz::LARGEST;
use crate::io::mem::{Image, MemStorage};

const PATH: &str = "delta";

/// `bytes` are the header's two copies.
///
/// # Panics
/// There is a bug.
pub fn header(bytes: &[u8]) -> bool {
    let copies = [sector(bytes, 0), sector(bytes, 1)];
    let decoded = copies.map(|copy| {
        let _ = Header::decode(&copy);
        Header::decode(&mended(&copy)).ok().inspect(check)
    });
    let storage = MemStorage::new(i64::MAX as u64, file(copies.map(|copy| mended(&copy)), &[]));
    let chosen = load::header(&storage, Path::new(PATH));
    if let Ok(chosen) = &chosen {
        let found = decoded.iter().flatten().find(|header| *header == chosen);
        assert!(found.is_some(), "it is neither copy: {chosen:?}");
        let newest = decoded.iter().flatten().map(|header| header.generation).max();
        assert_eq!(newest, Some(chosen.generation));
    }
    chosen.is_ok()
}

/// What is written is read the same, and bitmap and data lie behind each other in a file.
fn check(header: &Header) {
    assert_eq!(Header::decode(&header.encode()).as_ref(), Ok(header));
    assert!(header.bitmap().end <= header.data_offset);
    assert!(header.data_offset + header.blocks() * BLOCK == header.file_len());
    assert!(i64::try_from(header.file_len()).is_ok());
    assert!(header.blocks() <= header.most_blocks());
    assert!(header.parent.visible <= header.parent.size);
}

/// `bytes` are a header and the first bitmap sectors of its delta.
///
/// # Panics
/// There is a bug.
pub fn bitmap(bytes: &[u8]) -> bool {
    let copy = mended(&sector(bytes, 0));
    let Ok(header) = Header::decode(&copy) else { return false };
    let count = bytes.len().div_ceil(SECTOR_LEN);
    let found: Vec<_> = (1..count).map(|index| sector(bytes, index)).collect();
    read_bitmap(&header, copy, &found);
    let right = (0..).zip(&found).map(|(index, bytes)| header.mended_sector(index, bytes));
    read_bitmap(&header, copy, &right.collect::<Vec<_>>())
}

fn read_bitmap(header: &Header, copy: SectorBytes, found: &[SectorBytes]) -> bool {
    let storage = Arc::new(MemStorage::new(header.file_len(), file([copy; 2], found)));
    let mut owned = BTreeMap::new();
    let read = load::bitmap(&*storage, Path::new(PATH), header, false, |index, bits| {
        assert!(header.sector_at(index) + SECTOR <= header.bitmap().end);
        let again = header.decode_sector(index, &header.encode_sector(index, bits));
        assert!(again == Ok(Some(*bits)) || (again == Ok(None) && bits.iter().all(|&b| b == 0)));
        owned.insert(index, *bits);
    });
    if read.is_ok() && header.most_blocks() * BLOCK <= 4 * LARGEST {
        compare(header, storage, &owned);
    }
    read.is_ok()
}

/// The delta in memory owns what its sectors say.
fn compare(header: &Header, storage: Arc<MemStorage>, owned: &BTreeMap<u64, SectorBits>) {
    let delta = Delta::load(Path::new(PATH), storage).expect("its bitmap can be read");
    let said: u64 = owned.iter().map(|(index, bits)| header.owned_in(*index, bits)).sum();
    let (mut block, mut count) = (0, 0);
    while block < header.blocks() {
        let (owns, len) = delta.bitmap().run(block..header.blocks());
        assert!(len > 0 && len <= header.blocks() - block);
        count += if owns { len } else { 0 };
        block += len;
    }
    assert_eq!(count, said);
}

/// Sector `index` of `bytes`, filled up with zeroes.
fn sector(bytes: &[u8], index: usize) -> SectorBytes {
    let mut sector = [0; SECTOR_LEN];
    let there = bytes.chunks(SECTOR_LEN).nth(index).unwrap_or_default();
    sector[..there.len()].copy_from_slice(there);
    sector
}

/// A header with the CRC it should have.
pub(crate) fn mended(bytes: &SectorBytes) -> SectorBytes {
    let mut bytes = *bytes;
    let crc = crc32c::crc32c(&bytes[..SECTOR_LEN - 4]);
    bytes[SECTOR_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// A delta's file of these headers and bitmap sectors, all else a hole.
pub(crate) fn file(headers: [SectorBytes; 2], bitmap: &[SectorBytes]) -> Image {
    let headers = COPIES.map(|at| at as u64 / SECTOR).into_iter().zip(headers);
    let bitmap = (16..).zip(bitmap.iter().copied());
    headers.chain(bitmap).map(|(at, bytes)| (at, Arc::new(bytes))).collect()
}
