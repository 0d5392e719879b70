//! The bytes of a delta's header and bitmap sectors. docs/delta-format.md has the tables.
//!
//! Pure: bytes in, values or a defect out. Whatever the bytes, nothing here panics or allocates
//! by a number in them.

use std::ops::Range;

use uuid::Uuid;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::base::Identity;

/// What a bit speaks of, in bytes.
pub(crate) const BLOCK: u64 = BLOCK_LEN as u64;
/// [`BLOCK`] for lengths in memory.
pub(crate) const BLOCK_LEN: usize = 4096;
/// What is written whole or not at all, in bytes; also the granularity of the disk.
pub(crate) const SECTOR: u64 = SECTOR_LEN as u64;
/// [`SECTOR`] for lengths in memory.
pub(crate) const SECTOR_LEN: usize = 512;
/// Where the header's copies are.
pub(crate) const COPIES: [usize; 2] = [0, 4096];
/// The largest disk, in bytes.
pub(crate) const MAX_SIZE: u64 = 1 << 46;
/// 64-bit words of bits in a bitmap sector.
pub(crate) const SECTOR_WORDS: usize = 63;
/// Blocks a bitmap sector speaks of.
pub(crate) const SECTOR_BLOCKS: u64 = SECTOR_WORDS as u64 * 64;

/// What a delta begins with.
pub(crate) const MAGIC: [u8; 8] = *b"OFFDELTA";
const VERSION: u32 = 1;
const BLOCK_SIZE: u32 = 4096;
const BITMAP_OFFSET: u64 = 8192;
/// A new delta's data area begins at a multiple of this.
const DATA_ALIGNMENT: u64 = 1 << 20;
/// A new delta has room to grow to this many times its size.
const ROOM: u64 = 4;
/// A disk in use can grow to this many times the size it was opened with.
const GROWTH: u64 = 16;
/// A disk in use can always grow to this many blocks.
const GROWTH_BLOCKS: u64 = 1 << 18;

/// A sector's bytes.
pub(crate) type SectorBytes = [u8; SECTOR_LEN];
/// Header bytes nobody uses yet.
pub(crate) type Reserved = [u8; 308];
/// A bitmap sector's bits.
pub(crate) type SectorBits = [u64; SECTOR_WORDS];

/// What is wrong with some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// The magic is another one.
    NotADelta,
    /// Well-formed, but not for us.
    Newer(String),
    /// Not well-formed.
    Damaged(&'static str),
}

/// What a delta's header says, checked: every offset and size below can be added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) compatible: u64,
    pub(crate) generation: u64,
    pub(crate) size: u64,
    pub(crate) bitmap_capacity: u64,
    pub(crate) data_offset: u64,
    pub(crate) uuid: Uuid,
    pub(crate) parent: Parent,
    pub(crate) epoch: u64,
    pub(crate) state: State,
    pub(crate) reserved: Reserved,
}

/// What may be done with a delta. docs/delta-format.md, Life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It is written to, on top of a stack.
    #[default]
    Live,
    /// It is never written to again: others may stand on it.
    Frozen,
    /// A child is being merged into it; it means something only below that child.
    Absorbing(Uuid),
    /// All of a child has been merged into it; it means the same with and without that child.
    Absorbed(Uuid),
}

/// Who the blocks a delta does not own are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// What sort of layer it is.
    pub kind: ParentKind,
    /// Its uuid.
    pub uuid: Uuid,
    /// Its content's number; 0 for a base, whose content never changes.
    pub epoch: u64,
    /// Its disk's length in bytes.
    pub size: u64,
    /// How many bytes of it show through; at most `size`.
    pub visible: u64,
    /// BLAKE3 of a base's content; zeroes for others.
    pub digest: [u8; 32],
}

/// What sort of layer a parent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentKind {
    /// There is none: what a delta does not own is zeroes.
    Nothing,
    /// A raw base.
    Base,
    /// Another delta.
    Delta,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    version: U32,
    block_size: U32,
    incompatible: U64,
    compatible: U64,
    generation: U64,
    size: U64,
    bitmap_offset: U64,
    bitmap_capacity: U64,
    data_offset: U64,
    uuid: [u8; 16],
    parent_kind: U32,
    zero: U32,
    parent_uuid: [u8; 16],
    parent_epoch: U64,
    parent_size: U64,
    parent_visible: U64,
    parent_digest: [u8; 32],
    epoch: U64,
    state: U32,
    zero_too: U32,
    child: [u8; 16],
    reserved: Reserved,
    crc: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawSector {
    bits: [U64; SECTOR_WORDS],
    generation: U32,
    crc: U32,
}

/// As high as bitmap sectors can say.
pub(crate) const MAX_GENERATION: u64 = u32::MAX as u64;

/// The bytes a CRC at the end of a sector covers.
const COVERED: Range<usize> = 0..508;

impl Header {
    /// A new delta's header. `size` must have been checked with [`valid_size`].
    pub(crate) fn new(uuid: Uuid, size: u64, parent: Parent) -> Self {
        let wanted = BITMAP_OFFSET + bitmap_len(size.saturating_mul(ROOM).min(MAX_SIZE));
        let data_offset = wanted.next_multiple_of(DATA_ALIGNMENT);
        let bitmap_capacity = data_offset - BITMAP_OFFSET;
        Header {
            compatible: 0,
            generation: 1,
            size,
            bitmap_capacity,
            data_offset,
            uuid,
            parent,
            epoch: 0,
            state: State::Live,
            reserved: [0; _],
        }
    }

    pub(crate) fn encode(&self) -> SectorBytes {
        let (state, child) = self.state.encode();
        let mut raw = RawHeader {
            magic: MAGIC,
            version: VERSION.into(),
            block_size: BLOCK_SIZE.into(),
            incompatible: 0.into(),
            compatible: self.compatible.into(),
            generation: self.generation.into(),
            size: self.size.into(),
            bitmap_offset: BITMAP_OFFSET.into(),
            bitmap_capacity: self.bitmap_capacity.into(),
            data_offset: self.data_offset.into(),
            uuid: self.uuid.into_bytes(),
            parent_kind: self.parent.kind.encode().into(),
            zero: 0.into(),
            parent_uuid: self.parent.uuid.into_bytes(),
            parent_epoch: self.parent.epoch.into(),
            parent_size: self.parent.size.into(),
            parent_visible: self.parent.visible.into(),
            parent_digest: self.parent.digest,
            epoch: self.epoch.into(),
            state: state.into(),
            zero_too: 0.into(),
            child: child.into_bytes(),
            reserved: self.reserved,
            crc: 0.into(),
        };
        raw.crc = crc32c::crc32c(&raw.as_bytes()[COVERED]).into();
        zerocopy::transmute!(raw)
    }

    pub(crate) fn decode(bytes: &SectorBytes) -> Result<Header, Defect> {
        let raw: &RawHeader = zerocopy::transmute_ref!(bytes);
        if raw.magic != MAGIC {
            return Err(Defect::NotADelta);
        }
        // The CRC's place is the same in every version, so damage is not taken for a version.
        if raw.crc.get() != crc32c::crc32c(&bytes[COVERED]) {
            return Err(Defect::Damaged("the header's CRC does not match"));
        }
        if raw.version.get() != VERSION {
            return Err(Defect::Newer(format!("format version {}", raw.version)));
        }
        if raw.incompatible.get() != 0 {
            return Err(Defect::Newer(format!("incompatible features {:#x}", raw.incompatible)));
        }
        let kind = ParentKind::decode(raw.parent_kind.get())
            .ok_or_else(|| Defect::Newer(format!("a parent of kind {}", raw.parent_kind)))?;
        let state = State::decode(raw.state.get(), Uuid::from_bytes(raw.child))
            .ok_or_else(|| Defect::Newer(format!("state {}", raw.state)))?;
        raw.check().map_err(Defect::Damaged)?;
        Ok(Header {
            compatible: raw.compatible.get(),
            generation: raw.generation.get(),
            size: raw.size.get(),
            bitmap_capacity: raw.bitmap_capacity.get(),
            data_offset: raw.data_offset.get(),
            uuid: Uuid::from_bytes(raw.uuid),
            parent: Parent {
                kind,
                uuid: Uuid::from_bytes(raw.parent_uuid),
                epoch: raw.parent_epoch.get(),
                size: raw.parent_size.get(),
                visible: raw.parent_visible.get(),
                digest: raw.parent_digest,
            },
            epoch: raw.epoch.get(),
            state,
            reserved: raw.reserved,
        })
    }

    /// Blocks of the disk, the last one perhaps in part.
    pub(crate) fn blocks(&self) -> u64 {
        self.size.div_ceil(BLOCK)
    }

    /// Blocks of the largest disk that this one may become while it is in use: whoever opens it
    /// keeps a bitmap of so many in memory, untouched where it is not needed.
    pub(crate) fn most_blocks(&self) -> u64 {
        let capacity = (self.bitmap_capacity / SECTOR).saturating_mul(SECTOR_BLOCKS);
        let most = self.blocks().saturating_mul(GROWTH).max(GROWTH_BLOCKS);
        most.min(capacity).min(MAX_SIZE / BLOCK).max(self.blocks())
    }

    /// The file is at least this long, in bytes.
    pub(crate) fn file_len(&self) -> u64 {
        self.data_offset + self.blocks() * BLOCK
    }

    /// Where in the file bitmap sector `index` is.
    pub(crate) fn sector_at(&self, index: u64) -> u64 {
        BITMAP_OFFSET + index * SECTOR
    }

    /// Where in the file the bitmap of a disk of this size is.
    pub(crate) fn bitmap(&self) -> Range<u64> {
        BITMAP_OFFSET..BITMAP_OFFSET + bitmap_len(self.size)
    }

    /// How many blocks of the disk are owned by `bits` of sector `index`.
    pub(crate) fn owned_in(&self, index: u64, bits: &SectorBits) -> u64 {
        let first = index * SECTOR_BLOCKS;
        let in_word = |(word, bits): (u64, &u64)| {
            let blocks = self.blocks().saturating_sub(first + word * 64).min(64);
            let mask = if blocks == 0 { 0 } else { u64::MAX >> (64 - blocks) };
            u64::from((bits & mask).count_ones())
        };
        (0..).zip(bits).map(in_word).sum()
    }

    pub(crate) fn encode_sector(&self, index: u64, bits: &SectorBits) -> SectorBytes {
        let mut raw = RawSector {
            bits: bits.map(U64::new),
            // Within 32 bits, as every header's that is read or written.
            generation: u32::try_from(self.generation).unwrap_or(u32::MAX).into(),
            crc: 0.into(),
        };
        raw.crc = self.sector_crc(index, &raw.as_bytes()[COVERED]).into();
        zerocopy::transmute!(raw)
    }

    /// The bits of bitmap sector `index`; none where it owns nothing.
    pub(crate) fn decode_sector(
        &self,
        index: u64,
        bytes: &SectorBytes,
    ) -> Result<Option<SectorBits>, &'static str> {
        if *bytes == [0; SECTOR_LEN] {
            return Ok(None);
        }
        let raw: &RawSector = zerocopy::transmute_ref!(bytes);
        if raw.crc.get() != self.sector_crc(index, &bytes[COVERED]) {
            return Err("the CRC of a bitmap sector does not match");
        }
        if u64::from(raw.generation.get()) > self.generation {
            return Err("a bitmap sector is newer than the header");
        }
        Ok(Some(raw.bits.map(U64::get)))
    }

    /// A bitmap sector with the CRC it should have; zeroes stay zeroes.
    #[cfg(any(test, feature = "test-support"))]
    pub(crate) fn mended_sector(&self, index: u64, bytes: &SectorBytes) -> SectorBytes {
        let mut bytes = *bytes;
        if bytes != [0; SECTOR_LEN] {
            let crc = self.sector_crc(index, &bytes[COVERED]);
            bytes[COVERED.end..].copy_from_slice(&crc.to_le_bytes());
        }
        bytes
    }

    fn sector_crc(&self, index: u64, covered: &[u8]) -> u32 {
        let crc = crc32c::crc32c(self.uuid.as_bytes());
        let crc = crc32c::crc32c_append(crc, &index.to_le_bytes());
        crc32c::crc32c_append(crc, covered)
    }
}

impl State {
    fn encode(self) -> (u32, Uuid) {
        match self {
            State::Live => (0, Uuid::nil()),
            State::Frozen => (1, Uuid::nil()),
            State::Absorbing(child) => (2, child),
            State::Absorbed(child) => (3, child),
        }
    }

    fn decode(state: u32, child: Uuid) -> Option<State> {
        match state {
            0 => Some(State::Live),
            1 => Some(State::Frozen),
            2 => Some(State::Absorbing(child)),
            3 => Some(State::Absorbed(child)),
            _ => None,
        }
    }
}

impl ParentKind {
    fn encode(self) -> u32 {
        match self {
            ParentKind::Nothing => 0,
            ParentKind::Base => 1,
            ParentKind::Delta => 2,
        }
    }

    fn decode(kind: u32) -> Option<ParentKind> {
        match kind {
            0 => Some(ParentKind::Nothing),
            1 => Some(ParentKind::Base),
            2 => Some(ParentKind::Delta),
            _ => None,
        }
    }
}

impl Parent {
    /// No parent: what the delta does not own is zeroes.
    #[must_use]
    pub fn nothing() -> Parent {
        let kind = ParentKind::Nothing;
        Parent { kind, uuid: Uuid::nil(), epoch: 0, size: 0, visible: 0, digest: [0; 32] }
    }

    /// A base, all of it visible.
    ///
    /// # Errors
    /// Its digest is none.
    pub fn base(base: &Identity) -> crate::Result<Parent> {
        let (size, digest) = (base.size, base.digest_bytes()?);
        let kind = ParentKind::Base;
        Ok(Parent { kind, uuid: base.uuid, epoch: 0, size, visible: size, digest })
    }

    /// Another delta's disk, all of it visible.
    #[must_use]
    pub fn delta(uuid: Uuid, epoch: u64, size: u64) -> Parent {
        Parent { kind: ParentKind::Delta, uuid, epoch, size, visible: size, digest: [0; 32] }
    }
}

impl RawHeader {
    /// Every relation between the numbers that later arithmetic relies on.
    fn check(&self) -> Result<(), &'static str> {
        let require = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
        let size = self.size.get();
        require(self.block_size.get() == BLOCK_SIZE, "its block size is not 4096")?;
        let generation = 1..=MAX_GENERATION;
        require(generation.contains(&self.generation.get()), "its generation cannot be")?;
        require(self.epoch.get() < u64::MAX, "its epoch cannot be")?;
        valid_size(size)?;
        require(self.bitmap_offset.get() == BITMAP_OFFSET, "its bitmap is not at 8192")?;
        let capacity = self.bitmap_capacity.get();
        require(capacity.is_multiple_of(SECTOR), "its bitmap's capacity is not whole sectors")?;
        require(bitmap_len(size) <= capacity, "its bitmap does not hold the disk's blocks")?;
        let data = self.data_offset.get();
        require(data.is_multiple_of(BLOCK), "its data area is not aligned")?;
        let bitmap_end = BITMAP_OFFSET.checked_add(capacity);
        require(bitmap_end.is_some_and(|end| end <= data), "its data lies in the bitmap")?;
        let end = data.checked_add(size.next_multiple_of(BLOCK));
        let limit = i64::MAX as u64;
        require(end.is_some_and(|end| end <= limit), "its data area ends past any file")?;
        let visible = self.parent_visible.get();
        require(visible <= self.parent_size.get(), "it shows more than its parent has")?;
        require(self.parent_size.get() <= limit, "its parent is larger than any file")
    }
}

/// Whether a disk may have this size, in bytes.
pub(crate) fn valid_size(size: u64) -> Result<(), &'static str> {
    match size {
        0 => Err("a disk has at least one sector"),
        size if !size.is_multiple_of(SECTOR) => Err("a disk is a multiple of 512 bytes"),
        size if size > MAX_SIZE => Err("a disk has at most 64 TiB"),
        _ => Ok(()),
    }
}

/// Bytes of bitmap that a disk of `size` bytes needs.
fn bitmap_len(size: u64) -> u64 {
    size.div_ceil(BLOCK).div_ceil(SECTOR_BLOCKS) * SECTOR
}

#[cfg(test)]
mod tests;
