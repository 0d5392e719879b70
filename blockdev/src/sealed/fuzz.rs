//! What the fuzzer does to sealed files.

use std::path::Path;

use zstd::bulk::Decompressor;

use super::chunk::{self, content_len};
use super::format::{
    ChunkHead, Entry, HEAD_LEN, HEADER_LEN, Head, Header, IndexHead, Trailer, hash,
};
use super::{ExtentKind, Reader, Result};
use crate::delta::BLOCK;

/// Where in the header the digest of the settings is, and its own.
const DIGESTS: [usize; 2] = [104, 224];
/// Where in a chunk's head its digest is.
const DIGEST: usize = 16;

/// `bytes` are a sealed file.
///
/// # Panics
/// There is a bug.
pub fn sealed(bytes: &[u8]) -> bool {
    let _ = read(bytes);
    let mut right = bytes.to_vec();
    mend(&mut right).is_some() && read(&right).is_ok()
}

/// Reads as much as is accepted: extents in order, within the disk, each with its data.
fn read(bytes: &[u8]) -> Result<()> {
    let mut reader = Reader::open(bytes, Path::new("in"))?;
    let size = reader.header().size;
    let base = reader.header().base.clone();
    assert!(base.is_none_or(|base| base.visible <= base.size));
    let mut next = 0;
    while let Some(chunk) = reader.next_chunk()? {
        for (extent, data) in chunk.pieces() {
            assert!(extent.start >= next && extent.count > 0, "{extent:?} after {next}");
            next = extent.blocks().end;
            let len = if extent.kind == ExtentKind::Data { extent.count * BLOCK } else { 0 };
            assert_eq!(data.len() as u64, len);
        }
        assert!(next <= size.div_ceil(BLOCK), "{next} is past {size}");
    }
    Ok(())
}

/// Makes every digest right, and index and trailer anew, as far as the chunks can be understood.
fn mend(bytes: &mut Vec<u8>) -> Option<()> {
    let (header, mut at) = mend_header(bytes)?;
    let (mut totals, mut names, mut index) =
        (Trailer::empty(), header.content_hasher(), blake3::Hasher::new());
    let mut entries = Vec::new();
    let mut extents = Vec::new();
    loop {
        let head = bytes.get(at..at + HEAD_LEN)?.try_into().ok()?;
        let Head::Chunk(head) = Head::decode(head).ok()? else { break };
        let end = at + HEAD_LEN + usize::try_from(head.stored).ok()?;
        let content = unpacked(&head, bytes.get(at + HEAD_LEN..end)?)?;
        let digest = chunk::digest(head.extents, head.blocks, &content);
        bytes[at + DIGEST..at + HEAD_LEN].copy_from_slice(&digest);
        // A chunk the reader must refuse: what follows it is not reached.
        chunk::decode(&head, &content, 0..header.blocks(), &mut extents).ok()?;
        let entry = Entry { start: extents.first()?.start, offset: at as u64 }.encode();
        totals.add(&extents);
        names.update(&digest);
        index.update(&entry);
        entries.extend(entry);
        at = end;
    }
    totals.index_offset = at as u64;
    totals.content = *names.finalize().as_bytes();
    bytes.truncate(at);
    bytes.extend(IndexHead::new(totals.chunks, index).encode());
    bytes.extend(entries);
    bytes.extend(totals.encode());
    bytes.extend(hash(bytes));
    Some(())
}

/// The header, and where what follows the settings begins.
fn mend_header(bytes: &mut [u8]) -> Option<(Header, usize)> {
    let len = u32::from_le_bytes(bytes.get(96..100)?.try_into().ok()?);
    let end = HEADER_LEN.checked_add(usize::try_from(len).ok()?)?;
    let digest = hash(bytes.get(HEADER_LEN..end)?);
    bytes[DIGESTS[0]..DIGESTS[0] + digest.len()].copy_from_slice(&digest);
    let digest = hash(&bytes[..DIGESTS[1]]);
    bytes[DIGESTS[1]..HEADER_LEN].copy_from_slice(&digest);
    let (header, _) = Header::decode(bytes.first_chunk()?).ok()?;
    Some((header, end))
}

fn unpacked(head: &ChunkHead, frame: &[u8]) -> Option<Vec<u8>> {
    let mut content = vec![0; content_len(head)];
    let len = Decompressor::new().ok()?.decompress_to_buffer(frame, &mut content[..]).ok()?;
    (len == content.len()).then_some(content)
}
