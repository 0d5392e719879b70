//! The bytes of a sealed file's fixed parts: header, heads, index entries, trailer.
//!
//! Pure: bytes in, values or a defect out. Whatever the bytes, nothing here panics or allocates.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::chunk::{Extent, ExtentKind};
use crate::delta::{BLOCK, valid_size};

/// The most settings a file holds, in bytes.
pub const SETTINGS_MAX: usize = 64 << 10;
/// The most extents a chunk has.
pub(super) const EXTENTS_MAX: usize = 256;
/// The most blocks of data a chunk has.
pub(super) const BLOCKS_MAX: usize = 256;
/// The longest frame, in bytes; zstd makes none of a chunk that comes near it.
pub(super) const STORED_MAX: u32 = 2 << 20;

pub(super) const HEADER_LEN: usize = size_of::<RawHeader>();
pub(super) const HEAD_LEN: usize = size_of::<RawChunk>();
pub(super) const ENTRY_LEN: usize = size_of::<RawEntry>();
pub(super) const TRAILER_LEN: usize = size_of::<RawTrailer>();
/// The trailer up to its last digest, which covers this and all before it.
pub(super) const TRAILER_COVERED: usize = TRAILER_LEN - size_of::<Digest>();

const MAGIC: [u8; 8] = *b"OFFSEALD";
const CHUNK_MAGIC: [u8; 4] = *b"CHNK";
const INDEX_MAGIC: [u8; 4] = *b"INDX";
const TRAILER_MAGIC: [u8; 8] = *b"OFFSEALT";
const VERSION: u32 = 1;
const BLOCK_SIZE: u32 = 4096;
/// The header's bytes that its digest covers.
const COVERED: usize = 224;

/// BLAKE3 of something.
pub(super) type Digest = [u8; 32];

/// What is wrong with some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// The magic is another one.
    NotSealed,
    /// Well-formed, but not for us.
    Newer(String),
    /// Not well-formed.
    Damaged(&'static str),
}

/// What a sealed file says of its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The disk's length in bytes.
    pub size: u64,
    /// What the blocks that are not in the file are read from; `None` where they are zeroes.
    pub base: Option<BaseRef>,
}

/// The base a sealed file stands on, known by its content alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseRef {
    /// BLAKE3 of its content.
    pub digest: [u8; 32],
    /// Its length in bytes.
    pub size: u64,
    /// How many bytes of it show through; at most `size`.
    pub visible: u64,
}

/// How long the settings behind a header are, in bytes, and their digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) len: usize,
    pub(super) digest: Digest,
}

/// What begins with 48 bytes behind the settings or a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Chunk(ChunkHead),
    Index(IndexHead),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkHead {
    pub(super) extents: u32,
    pub(super) blocks: u32,
    pub(super) stored: u32,
    pub(super) digest: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexHead {
    pub(super) chunks: u64,
    pub(super) digest: Digest,
}

/// Where a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its first block.
    pub(super) start: u64,
    /// Of its head in the file, in bytes.
    pub(super) offset: u64,
}

/// The trailer without the digest of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) index_offset: u64,
    pub(super) chunks: u64,
    pub(super) data_blocks: u64,
    pub(super) zero_blocks: u64,
    pub(super) content: Digest,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    version: U32,
    block_size: U32,
    incompatible: U64,
    compatible: U64,
    disk: RawDisk,
    settings_len: U32,
    zero: U32,
    settings_digest: Digest,
    zeroes: [u8; 88],
    digest: Digest,
}

/// The part of the header that `content` covers.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawDisk {
    size: U64,
    base_size: U64,
    base_visible: U64,
    base_kind: U32,
    zero: U32,
    base_digest: Digest,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawChunk {
    magic: [u8; 4],
    extents: U32,
    blocks: U32,
    stored: U32,
    digest: Digest,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawIndex {
    magic: [u8; 4],
    zero: U32,
    chunks: U64,
    digest: Digest,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawEntry {
    start: U64,
    offset: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawTrailer {
    magic: [u8; 8],
    index_offset: U64,
    chunks: U64,
    data_blocks: U64,
    zero_blocks: U64,
    content: Digest,
    file: Digest,
}

const _: () = assert!(
    HEADER_LEN == 256
        && HEAD_LEN == 48
        && size_of::<RawIndex>() == HEAD_LEN
        && ENTRY_LEN == 16
        && TRAILER_LEN == 104
);

impl Header {
    /// Blocks of the disk, the last one perhaps in part.
    pub(super) fn blocks(&self) -> u64 {
        self.size.div_ceil(BLOCK)
    }

    /// A hasher for the trailer's `content`, which the chunks' digests are to be added to.
    pub(super) fn content_hasher(&self) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.disk().as_bytes());
        hasher
    }

    pub(super) fn encode(&self, settings: Settings) -> [u8; HEADER_LEN] {
        let mut raw = RawHeader {
            magic: MAGIC,
            version: VERSION.into(),
            block_size: BLOCK_SIZE.into(),
            incompatible: 0.into(),
            compatible: 0.into(),
            disk: self.disk(),
            settings_len: u32::try_from(settings.len).unwrap_or(u32::MAX).into(),
            zero: 0.into(),
            settings_digest: settings.digest,
            zeroes: [0; _],
            digest: [0; _],
        };
        raw.digest = hash(&raw.as_bytes()[..COVERED]);
        zerocopy::transmute!(raw)
    }

    pub(super) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<(Header, Settings), Defect> {
        let raw: &RawHeader = zerocopy::transmute_ref!(bytes);
        if raw.magic != MAGIC {
            return Err(Defect::NotSealed);
        }
        // The digest's place is the same in every version, so damage is not taken for a version.
        if raw.digest != hash(&bytes[..COVERED]) {
            return Err(Defect::Damaged("the header's digest does not match"));
        }
        if raw.version.get() != VERSION {
            return Err(Defect::Newer(format!("format version {}", raw.version)));
        }
        if raw.incompatible.get() != 0 {
            return Err(Defect::Newer(format!("incompatible features {:#x}", raw.incompatible)));
        }
        if raw.block_size.get() != BLOCK_SIZE {
            return Err(Defect::Damaged("its block size is not 4096"));
        }
        Ok((raw.disk.header()?, raw.settings()?))
    }

    /// Whether a sealed file may begin with these few bytes.
    pub(super) fn may_begin(bytes: &[u8]) -> bool {
        let len = bytes.len().min(MAGIC.len());
        bytes[..len] == MAGIC[..len]
    }

    fn disk(&self) -> RawDisk {
        let nothing = BaseRef { digest: [0; 32], size: 0, visible: 0 };
        let base = self.base.as_ref().unwrap_or(&nothing);
        RawDisk {
            size: self.size.into(),
            base_size: base.size.into(),
            base_visible: base.visible.into(),
            base_kind: u32::from(self.base.is_some()).into(),
            zero: 0.into(),
            base_digest: base.digest,
        }
    }
}

impl RawDisk {
    fn header(&self) -> Result<Header, Defect> {
        valid_size(self.size.get()).map_err(Defect::Damaged)?;
        Ok(Header { size: self.size.get(), base: self.base()? })
    }

    fn base(&self) -> Result<Option<BaseRef>, Defect> {
        let (size, visible) = (self.base_size.get(), self.base_visible.get());
        let nothing = size == 0 && visible == 0 && self.base_digest == [0; 32];
        match self.base_kind.get() {
            0 if nothing => Ok(None),
            0 => Err(Defect::Damaged("it has no base, and says what that is")),
            1 if visible > size => Err(Defect::Damaged("it shows more than its base has")),
            1 if size > i64::MAX as u64 => Err(Defect::Damaged("its base is larger than any file")),
            1 => Ok(Some(BaseRef { digest: self.base_digest, size, visible })),
            kind => Err(Defect::Newer(format!("a base of kind {kind}"))),
        }
    }
}

impl RawHeader {
    fn settings(&self) -> Result<Settings, Defect> {
        let len = usize::try_from(self.settings_len.get()).unwrap_or(usize::MAX);
        if len > SETTINGS_MAX {
            return Err(Defect::Damaged("its settings are longer than any"));
        }
        Ok(Settings { len, digest: self.settings_digest })
    }
}

impl Head {
    pub(super) fn decode(bytes: &[u8; HEAD_LEN]) -> Result<Head, &'static str> {
        if bytes.starts_with(&CHUNK_MAGIC) {
            ChunkHead::decode(bytes).map(Head::Chunk)
        } else if bytes.starts_with(&INDEX_MAGIC) {
            Ok(Head::Index(IndexHead::decode(bytes)))
        } else {
            Err("neither a chunk nor the index begins here")
        }
    }
}

impl ChunkHead {
    pub(super) fn encode(&self) -> [u8; HEAD_LEN] {
        zerocopy::transmute!(RawChunk {
            magic: CHUNK_MAGIC,
            extents: self.extents.into(),
            blocks: self.blocks.into(),
            stored: self.stored.into(),
            digest: self.digest,
        })
    }

    /// Every count that memory is taken for is within its limit.
    fn decode(bytes: &[u8; HEAD_LEN]) -> Result<ChunkHead, &'static str> {
        let raw: &RawChunk = zerocopy::transmute_ref!(bytes);
        let within =
            |count: U32, limit: usize| usize::try_from(count.get()).is_ok_and(|c| c <= limit);
        if raw.extents.get() == 0 || !within(raw.extents, EXTENTS_MAX) {
            return Err("a chunk has 1 to 256 extents");
        }
        if !within(raw.blocks, BLOCKS_MAX) {
            return Err("a chunk has at most 256 blocks");
        }
        if raw.stored.get() > STORED_MAX {
            return Err("a chunk's frame is longer than any");
        }
        Ok(ChunkHead {
            extents: raw.extents.get(),
            blocks: raw.blocks.get(),
            stored: raw.stored.get(),
            digest: raw.digest,
        })
    }
}

impl IndexHead {
    /// The head of an index of so many entries, which `hasher` has seen.
    pub(super) fn new(chunks: u64, mut hasher: blake3::Hasher) -> IndexHead {
        hasher.update(&chunks.to_le_bytes());
        IndexHead { chunks, digest: *hasher.finalize().as_bytes() }
    }

    pub(super) fn encode(&self) -> [u8; HEAD_LEN] {
        zerocopy::transmute!(RawIndex {
            magic: INDEX_MAGIC,
            zero: 0.into(),
            chunks: self.chunks.into(),
            digest: self.digest,
        })
    }

    fn decode(bytes: &[u8; HEAD_LEN]) -> IndexHead {
        let raw: &RawIndex = zerocopy::transmute_ref!(bytes);
        IndexHead { chunks: raw.chunks.get(), digest: raw.digest }
    }
}

impl Entry {
    pub(super) fn encode(self) -> [u8; ENTRY_LEN] {
        zerocopy::transmute!(RawEntry { start: self.start.into(), offset: self.offset.into() })
    }
}

impl Trailer {
    /// Of nothing yet.
    pub(super) fn empty() -> Trailer {
        Trailer { index_offset: 0, chunks: 0, data_blocks: 0, zero_blocks: 0, content: [0; _] }
    }

    /// Counts one more chunk.
    pub(super) fn add(&mut self, extents: &[Extent]) {
        self.chunks += 1;
        for extent in extents {
            match extent.kind {
                ExtentKind::Data => self.data_blocks += extent.count,
                ExtentKind::Zero => self.zero_blocks += extent.count,
            }
        }
    }

    /// All but the digest of the file.
    pub(super) fn encode(&self) -> [u8; TRAILER_COVERED] {
        let raw = RawTrailer {
            magic: TRAILER_MAGIC,
            index_offset: self.index_offset.into(),
            chunks: self.chunks.into(),
            data_blocks: self.data_blocks.into(),
            zero_blocks: self.zero_blocks.into(),
            content: self.content,
            file: [0; _],
        };
        let bytes: [u8; TRAILER_LEN] = zerocopy::transmute!(raw);
        let mut covered = [0; TRAILER_COVERED];
        covered.copy_from_slice(&bytes[..TRAILER_COVERED]);
        covered
    }
}

/// BLAKE3 of `bytes`.
pub(super) fn hash(bytes: &[u8]) -> Digest {
    *blake3::hash(bytes).as_bytes()
}
