//! A chunk's content: a table of extents, then their data.
//!
//! Pure: what is decoded here has been unpacked to the length its head announces, and nothing
//! more is known of it.

use std::ops::Range;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::format::{BLOCKS_MAX, ChunkHead, Digest, EXTENTS_MAX};
use crate::delta::{BLOCK, BLOCK_LEN};

const EXTENT_LEN: usize = size_of::<RawExtent>();
/// The longest content, in bytes.
pub(super) const CONTENT_MAX: usize = EXTENTS_MAX * EXTENT_LEN + BLOCKS_MAX * BLOCK_LEN;

/// Blocks in a row that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its first block, of 4096 bytes.
    pub start: u64,
    /// How many blocks.
    pub count: u64,
    /// What they are.
    pub kind: ExtentKind,
}

/// What an extent's blocks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// Bytes that are in the file.
    Data,
    /// Zeroes.
    Zero,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawExtent {
    start: U64,
    count: U64,
    kind: U32,
    zero: U32,
}

const _: () = assert!(EXTENT_LEN == 24);

impl Extent {
    /// The blocks of it.
    #[must_use]
    pub fn blocks(&self) -> Range<u64> {
        self.start..self.start + self.count
    }

    pub(super) fn encode(&self) -> [u8; EXTENT_LEN] {
        let kind = match self.kind {
            ExtentKind::Data => 1,
            ExtentKind::Zero => 2,
        };
        zerocopy::transmute!(RawExtent {
            start: self.start.into(),
            count: self.count.into(),
            kind: U32::new(kind),
            zero: 0.into(),
        })
    }

    fn decode(bytes: &[u8; EXTENT_LEN]) -> Result<Extent, &'static str> {
        let raw: &RawExtent = zerocopy::transmute_ref!(bytes);
        let kind = match raw.kind.get() {
            1 => ExtentKind::Data,
            2 => ExtentKind::Zero,
            _ => return Err("an extent is neither data nor zero"),
        };
        Ok(Extent { start: raw.start.get(), count: raw.count.get(), kind })
    }
}

/// How long the content is that `head` announces, in bytes; at most [`CONTENT_MAX`].
pub(super) fn content_len(head: &ChunkHead) -> usize {
    table_len(head) + usize::try_from(head.blocks).map_or(0, |blocks| blocks * BLOCK_LEN)
}

fn table_len(head: &ChunkHead) -> usize {
    usize::try_from(head.extents).map_or(0, |extents| extents * EXTENT_LEN)
}

/// The digest a chunk's head carries.
pub(super) fn digest(extents: u32, blocks: u32, content: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&extents.to_le_bytes()).update(&blocks.to_le_bytes()).update(content);
    *hasher.finalize().as_bytes()
}

/// Takes the content of a chunk apart: its extents are put into `extents`, its data is returned.
/// The first extent may begin at block `from`, the last one ends within a disk of `end` blocks.
pub(super) fn decode<'a>(
    head: &ChunkHead,
    content: &'a [u8],
    blocks: Range<u64>,
    extents: &mut Vec<Extent>,
) -> Result<&'a [u8], &'static str> {
    extents.clear();
    let (table, data) = content.split_at_checked(table_len(head)).ok_or("a chunk is too short")?;
    let mut next = blocks.start;
    for bytes in table.as_chunks().0 {
        let extent = Extent::decode(bytes)?;
        next = after(&extent, next..blocks.end)?;
        extents.push(extent);
    }
    let of_data = extents.iter().filter(|extent| extent.kind == ExtentKind::Data);
    if of_data.map(|extent| extent.count).sum::<u64>() * BLOCK != data.len() as u64 {
        return Err("a chunk's extents do not add up to its data");
    }
    Ok(data)
}

/// Where `extent` ends, which must lie in `blocks`.
fn after(extent: &Extent, blocks: Range<u64>) -> Result<u64, &'static str> {
    let end = extent.start.checked_add(extent.count);
    match end {
        _ if extent.count == 0 => Err("an extent is empty"),
        _ if extent.start < blocks.start => Err("extents overlap or are out of order"),
        Some(end) if end <= blocks.end => Ok(end),
        _ => Err("an extent ends past the disk's end"),
    }
}
