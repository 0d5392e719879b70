//! Reads a sealed file front to back, believing nothing.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zstd::bulk::Decompressor;
use zstd::zstd_safe::find_frame_compressed_size;

use super::chunk::{self, content_len};
use super::format::{
    ChunkHead, Defect, Digest, ENTRY_LEN, Entry, HEAD_LEN, HEADER_LEN, Head, Header, IndexHead,
    TRAILER_COVERED, Trailer, hash,
};
use super::{Error, Extent, ExtentKind, Result};
use crate::delta::{BLOCK, BLOCK_LEN};

/// Index entries read at once.
const ENTRIES: u64 = 4096;

/// A sealed file being read.
///
/// After an error it is of no further use, and what was made of its chunks is to be thrown away;
/// so it is before [`next_chunk`](Reader::next_chunk) has returned nothing, because only then the
/// whole file has been checked.
pub struct Reader<R> {
    input: Input<R>,
    header: Header,
    settings: Vec<u8>,
    unpacker: Decompressor<'static>,
    frame: Vec<u8>,
    content: Vec<u8>,
    extents: Vec<Extent>,
    /// The next extent begins here or later, in blocks.
    next: u64,
    /// What the trailer must say.
    totals: Trailer,
    names: blake3::Hasher,
    index: blake3::Hasher,
    ended: bool,
}

/// Extents of the disk in order, and their data.
#[derive(Debug)]
pub struct Chunk<'a> {
    extents: &'a [Extent],
    data: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Each extent with its bytes: none of one that is zero.
    pub fn pieces(&self) -> impl Iterator<Item = (Extent, &'a [u8])> + use<'a> {
        let mut rest = self.data;
        self.extents.iter().map(move |extent| {
            let len = match extent.kind {
                ExtentKind::Zero => 0,
                ExtentKind::Data => usize::try_from(extent.count * BLOCK).unwrap_or(usize::MAX),
            };
            let (data, others) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            rest = others;
            (*extent, data)
        })
    }
}

impl<R: Read> Reader<R> {
    /// Reads header and settings from `input`, which errors call `path`.
    ///
    /// # Errors
    /// It is no sealed file, is damaged there, or is of a newer version.
    pub fn open(input: R, path: &Path) -> Result<Reader<R>> {
        let mut input = Input::new(input, path);
        let mut bytes = [0; HEADER_LEN];
        input.header(&mut bytes)?;
        let (header, expected) = Header::decode(&bytes).map_err(|defect| input.defect(defect))?;
        let mut settings = vec![0; expected.len];
        let at = input.at;
        input.take(&mut settings, "the settings")?;
        if hash(&settings) != expected.digest {
            return Err(input.damaged(at, "the settings' digest does not match"));
        }
        let unpacker = Decompressor::new().map_err(Error::read(path, 0))?;
        Ok(Reader {
            names: header.content_hasher(),
            input,
            header,
            settings,
            unpacker,
            frame: Vec::new(),
            content: Vec::new(),
            extents: Vec::new(),
            next: 0,
            totals: Trailer::empty(),
            index: blake3::Hasher::new(),
            ended: false,
        })
    }

    /// What the file says of its disk.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the file says of its machine, as it was given to [`seal`](super::seal).
    pub fn settings(&self) -> &[u8] {
        &self.settings
    }

    /// What errors call the file.
    pub fn path(&self) -> &Path {
        &self.input.path
    }

    /// How far the file has been read, in bytes.
    pub fn position(&self) -> u64 {
        self.input.at
    }

    /// The next chunk. Nothing, once everything has been read and checked and the input has ended.
    ///
    /// # Errors
    /// The file is damaged or cut off, something follows it, or it cannot be read.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk<'_>>> {
        if self.ended {
            return Ok(None);
        }
        let at = self.input.at;
        let mut bytes = [0; HEAD_LEN];
        self.input.take(&mut bytes, "the head of a chunk")?;
        match Head::decode(&bytes).map_err(|what| self.input.damaged(at, what))? {
            Head::Chunk(head) => self.chunk(at, &head).map(Some),
            Head::Index(head) => self.end(at, &head).map(|()| None),
        }
    }

    fn chunk(&mut self, at: u64, head: &ChunkHead) -> Result<Chunk<'_>> {
        self.frame.resize(usize::try_from(head.stored).unwrap_or(0), 0);
        self.input.take(&mut self.frame, "a chunk")?;
        self.unpack(head).map_err(|what| self.input.damaged(at, what))?;
        let blocks = self.next..self.header.blocks();
        let data = chunk::decode(head, &self.content, blocks, &mut self.extents);
        let data = data.map_err(|what| self.input.damaged(at, what))?;
        let (Some(first), Some(last)) = (self.extents.first(), self.extents.last()) else {
            return Err(self.input.damaged(at, "a chunk is empty"));
        };
        if last.kind == ExtentKind::Data && !ends_in_zeroes(self.header.size, last, data) {
            return Err(self.input.damaged(at, "there is data past the disk's end"));
        }
        self.next = last.blocks().end;
        self.totals.add(&self.extents);
        self.names.update(&head.digest);
        self.index.update(&Entry { start: first.start, offset: at }.encode());
        Ok(Chunk { extents: &self.extents, data })
    }

    /// Unpacks the frame into a buffer of the size its head announces.
    fn unpack(&mut self, head: &ChunkHead) -> std::result::Result<(), &'static str> {
        // zstd takes several frames for one, and skips some.
        if find_frame_compressed_size(&self.frame) != Ok(self.frame.len()) {
            return Err("a chunk is not one zstd frame");
        }
        let len = content_len(head);
        self.content.resize(len, 0);
        let unpacked = self.unpacker.decompress_to_buffer(&self.frame, self.content.as_mut_slice());
        if unpacked.map_err(|_| "a chunk cannot be unpacked, or is larger than it says")? != len {
            return Err("a chunk is smaller than it says");
        }
        if chunk::digest(head.extents, head.blocks, &self.content) != head.digest {
            return Err("a chunk's digest does not match");
        }
        Ok(())
    }

    /// Checks all that follows the chunks.
    fn end(&mut self, at: u64, head: &IndexHead) -> Result<()> {
        self.totals.index_offset = at;
        self.totals.content = *self.names.finalize().as_bytes();
        if *head != IndexHead::new(self.totals.chunks, self.index.clone()) {
            return Err(self.input.damaged(at, "the index is not that of these chunks"));
        }
        self.check_entries()?;
        self.check_trailer()?;
        self.input.expect_end()?;
        self.ended = true;
        Ok(())
    }

    fn check_entries(&mut self) -> Result<()> {
        let (start, mut hasher) = (self.input.at, blake3::Hasher::new());
        let mut left = self.totals.chunks;
        while left > 0 {
            let count = left.min(ENTRIES);
            self.frame.resize(usize::try_from(count).unwrap_or(0) * ENTRY_LEN, 0);
            self.input.take(&mut self.frame, "the index")?;
            hasher.update(&self.frame);
            left -= count;
        }
        if hasher.finalize() != self.index.finalize() {
            return Err(self.input.damaged(start, "the index is not that of these chunks"));
        }
        Ok(())
    }

    fn check_trailer(&mut self) -> Result<()> {
        let at = self.input.at;
        let mut found = [0; TRAILER_COVERED];
        self.input.take(&mut found, "the trailer")?;
        if found != self.totals.encode() {
            return Err(self.input.damaged(at, "the trailer is not that of these chunks"));
        }
        let expected = self.input.hasher.finalize();
        let (at, mut file): (_, Digest) = (self.input.at, [0; _]);
        self.input.take(&mut file, "the trailer")?;
        if expected != file {
            return Err(self.input.damaged(at, "the digest of the file does not match"));
        }
        Ok(())
    }
}

/// Whether what lies past a disk of `size` bytes is zero in `extent`, the last of `data`.
fn ends_in_zeroes(size: u64, extent: &Extent, data: &[u8]) -> bool {
    let past = (extent.blocks().end * BLOCK).saturating_sub(size);
    let past = usize::try_from(past).unwrap_or(0).min(BLOCK_LEN).min(data.len());
    data[data.len() - past..].iter().all(|&byte| byte == 0)
}

/// Counts and hashes what is read.
struct Input<R> {
    input: BufReader<R>,
    path: PathBuf,
    at: u64,
    hasher: blake3::Hasher,
}

impl<R: Read> Input<R> {
    fn new(input: R, path: &Path) -> Input<R> {
        let input = BufReader::with_capacity(64 << 10, input);
        Input { input, path: path.into(), at: 0, hasher: blake3::Hasher::new() }
    }

    /// Fills `bytes`, which are `what`.
    fn take(&mut self, bytes: &mut [u8], what: &'static str) -> Result<()> {
        let at = self.at;
        match self.fill(bytes)? {
            len if len == bytes.len() => Ok(()),
            _ => Err(Error::Truncated { path: self.path.clone(), at, what }),
        }
    }

    /// As [`take`](Input::take); a short file that is something else is told from a cut one.
    fn header(&mut self, bytes: &mut [u8; HEADER_LEN]) -> Result<()> {
        let len = self.fill(bytes)?;
        if len < bytes.len() && Header::may_begin(&bytes[..len]) {
            return Err(Error::Truncated { path: self.path.clone(), at: 0, what: "the header" });
        }
        Ok(())
    }

    /// Reads as much as there is for `bytes`, and says how much that was.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let mut len = 0;
        while let Some(rest @ [_, ..]) = bytes.get_mut(len..) {
            match self.input.read(rest) {
                Ok(0) => break,
                Ok(count) => len += count,
                Err(error) if crate::io::again(&error) => {}
                Err(error) => return Err(Error::read(&self.path, self.at + len as u64)(error)),
            }
        }
        self.hasher.update(&bytes[..len]);
        self.at += len as u64;
        Ok(len)
    }

    fn expect_end(&mut self) -> Result<()> {
        match self.fill(&mut [0])? {
            0 => Ok(()),
            _ => Err(self.damaged(self.at - 1, "something follows its end")),
        }
    }

    fn damaged(&self, at: u64, what: &str) -> Error {
        Error::Damaged { path: self.path.clone(), at, what: what.into() }
    }

    fn defect(&self, defect: Defect) -> Error {
        match defect {
            Defect::NotSealed => Error::NotSealed { path: self.path.clone() },
            Defect::Newer(what) => Error::Newer { path: self.path.clone(), what },
            Defect::Damaged(what) => self.damaged(0, what),
        }
    }
}
