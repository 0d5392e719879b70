//! Cuts what a source owns into chunks. docs/sealed-format.md, Packing.

use super::chunk::{CONTENT_MAX, Extent, ExtentKind};
use super::format::{BLOCKS_MAX, EXTENTS_MAX};
use super::write::Writer;
use super::{Result, Source};
use crate::delta::{BLOCK, BLOCK_LEN};

/// Blocks read at once.
const AT_ONCE: u64 = 64;
const ZEROES: [u8; BLOCK_LEN] = [0; BLOCK_LEN];

/// Takes the blocks of a source in order.
pub(super) struct Packer<'a> {
    source: &'a dyn Source,
    progress: &'a mut dyn FnMut(u64, u64),
    open: Open,
}

/// The chunk that is being filled.
#[derive(Default)]
pub(super) struct Open {
    pub(super) extents: Vec<Extent>,
    pub(super) data: Vec<u8>,
}

impl<'a> Packer<'a> {
    pub(super) fn new(source: &'a dyn Source, progress: &'a mut dyn FnMut(u64, u64)) -> Packer<'a> {
        Packer { source, progress, open: Open::with_capacity() }
    }

    /// Gives `writer` every chunk.
    pub(super) fn pack(mut self, writer: &mut Writer<'_>) -> Result<()> {
        let size = self.source.header().size;
        let mut buffer = Vec::new();
        let mut from = 0;
        while let Some(owned) = self.source.next_owned(from)? {
            from = owned.end;
            let mut at = owned.start;
            while at < owned.end {
                let end = owned.end.min(at + AT_ONCE);
                buffer.resize(bytes(end - at), 0);
                self.source.read(at, &mut buffer)?;
                self.take_in(at, &buffer, writer)?;
                at = end;
                (self.progress)((at * BLOCK).min(size), size);
            }
        }
        self.end(writer)?;
        (self.progress)(size, size);
        Ok(())
    }

    /// Packs `data`, the blocks from `at` on.
    fn take_in(&mut self, at: u64, data: &[u8], writer: &mut Writer<'_>) -> Result<()> {
        for (block, data) in (at..).zip(data.as_chunks::<BLOCK_LEN>().0) {
            let kind = if *data == ZEROES { ExtentKind::Zero } else { ExtentKind::Data };
            if !self.open.has_room(block, kind) {
                self.end(writer)?;
            }
            self.open.push(block, kind, data);
        }
        Ok(())
    }

    /// Ends the chunk, if it holds anything.
    fn end(&mut self, writer: &mut Writer<'_>) -> Result<()> {
        if !self.open.extents.is_empty() {
            writer.chunk(&self.open)?;
            self.open.extents.clear();
            self.open.data.clear();
        }
        Ok(())
    }
}

impl Open {
    fn with_capacity() -> Open {
        Open { extents: Vec::with_capacity(EXTENTS_MAX), data: Vec::with_capacity(CONTENT_MAX) }
    }

    /// Whether a block of this kind still goes into this chunk.
    fn has_room(&self, block: u64, kind: ExtentKind) -> bool {
        let data = kind == ExtentKind::Zero || self.data.len() < BLOCKS_MAX * BLOCK_LEN;
        data && (self.extents.len() < EXTENTS_MAX || self.continues(block, kind))
    }

    fn push(&mut self, block: u64, kind: ExtentKind, data: &[u8]) {
        let continues = self.continues(block, kind);
        match self.extents.last_mut() {
            Some(last) if continues => last.count += 1,
            _ => self.extents.push(Extent { start: block, count: 1, kind }),
        }
        if kind == ExtentKind::Data {
            self.data.extend_from_slice(data);
        }
    }

    /// Whether the block belongs to the last extent.
    fn continues(&self, block: u64, kind: ExtentKind) -> bool {
        self.extents.last().is_some_and(|last| last.blocks().end == block && last.kind == kind)
    }
}

/// A few blocks in bytes.
fn bytes(blocks: u64) -> usize {
    usize::try_from(blocks * BLOCK).expect("a few blocks fit memory")
}
