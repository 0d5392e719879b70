//! Writes the parts of a sealed file in their order, and adds up what index and trailer say.

use std::io::{BufWriter, Write};
use std::path::Path;

use zstd::bulk::Compressor;

use super::chunk::{self, CONTENT_MAX};
use super::format::{ChunkHead, Entry, Header, IndexHead, SETTINGS_MAX, Settings, Trailer, hash};
use super::pack::Open;
use super::{Error, Result};
use crate::delta::BLOCK_LEN;

/// Of zstd. Another level is another file of the same content.
const LEVEL: i32 = 3;
/// Smaller writes are put together, in bytes.
const BUFFER: usize = 64 << 10;

/// What a sealed file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Names the content: BLAKE3 in 64 hex digits, the trailer's `content`.
    pub content: String,
    /// Blocks of data in it, of 4096 bytes.
    pub data_blocks: u64,
    /// Blocks it says are zero.
    pub zero_blocks: u64,
    /// The file's length in bytes.
    pub bytes: u64,
}

/// A sealed file being written.
pub(super) struct Writer<'a> {
    out: Hashed<'a>,
    compressor: Compressor<'static>,
    /// The chunk's content, and what has become of it.
    content: Vec<u8>,
    frame: Vec<u8>,
    index: Vec<Entry>,
    totals: Trailer,
    names: blake3::Hasher,
}

impl<'a> Writer<'a> {
    /// Begins a file with its header and settings.
    pub(super) fn new(
        out: &'a mut dyn Write,
        path: &'a Path,
        header: &Header,
        settings: &[u8],
    ) -> Result<Writer<'a>> {
        if settings.len() > SETTINGS_MAX {
            return Err(Error::Settings { len: settings.len() });
        }
        let compress = |source| Error::Compress { path: path.into(), source };
        let mut out = Hashed::new(out, path);
        out.put(&header.encode(Settings { len: settings.len(), digest: hash(settings) }))?;
        out.put(settings)?;
        Ok(Writer {
            out,
            compressor: Compressor::new(LEVEL).map_err(compress)?,
            content: Vec::with_capacity(CONTENT_MAX),
            frame: Vec::with_capacity(zstd::zstd_safe::compress_bound(CONTENT_MAX)),
            index: Vec::new(),
            totals: Trailer::empty(),
            names: header.content_hasher(),
        })
    }

    /// Adds a chunk. Its extents are in order, and within the limits of one.
    pub(super) fn chunk(&mut self, chunk: &Open) -> Result<()> {
        let Some(first) = chunk.extents.first() else { return Ok(()) };
        self.index.push(Entry { start: first.start, offset: self.out.at });
        self.totals.add(&chunk.extents);
        self.content.clear();
        self.content.extend(chunk.extents.iter().flat_map(|extent| extent.encode()));
        self.content.extend_from_slice(&chunk.data);
        self.put_content(small(chunk.extents.len()), small(chunk.data.len() / BLOCK_LEN))
    }

    fn put_content(&mut self, extents: u32, blocks: u32) -> Result<()> {
        let stored = self.compressor.compress_to_buffer(&self.content, &mut self.frame);
        let path = self.out.path;
        let stored = stored.map_err(|source| Error::Compress { path: path.into(), source })?;
        let digest = chunk::digest(extents, blocks, &self.content);
        self.names.update(&digest);
        self.out.put(&ChunkHead { extents, blocks, stored: small(stored), digest }.encode())?;
        self.out.put(&self.frame)
    }

    /// Ends the file: index and trailer.
    pub(super) fn finish(mut self) -> Result<Summary> {
        self.totals.index_offset = self.out.at;
        self.totals.content = *self.names.finalize().as_bytes();
        self.put_index()?;
        self.out.put(&self.totals.encode())?;
        let file = *self.out.hasher.finalize().as_bytes();
        self.out.put(&file)?;
        self.out.flush()?;
        Ok(Summary {
            content: self.names.finalize().to_hex().to_string(),
            data_blocks: self.totals.data_blocks,
            zero_blocks: self.totals.zero_blocks,
            bytes: self.out.at,
        })
    }

    fn put_index(&mut self) -> Result<()> {
        let mut hasher = blake3::Hasher::new();
        for entry in &self.index {
            hasher.update(&entry.encode());
        }
        let chunks = self.totals.chunks;
        self.out.put(&IndexHead::new(chunks, hasher).encode())?;
        self.index.iter().try_for_each(|entry| self.out.put(&entry.encode()))
    }
}

/// Counts and hashes what it passes on.
struct Hashed<'a> {
    out: BufWriter<&'a mut dyn Write>,
    path: &'a Path,
    at: u64,
    hasher: blake3::Hasher,
}

impl<'a> Hashed<'a> {
    fn new(out: &'a mut dyn Write, path: &'a Path) -> Hashed<'a> {
        let out = BufWriter::with_capacity(BUFFER, out);
        Hashed { out, path, at: 0, hasher: blake3::Hasher::new() }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(Error::write(self.path, self.at))?;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(Error::write(self.path, self.at))
    }
}

/// A number that a chunk's limits bound.
fn small(number: usize) -> u32 {
    u32::try_from(number).expect("a chunk is small")
}
