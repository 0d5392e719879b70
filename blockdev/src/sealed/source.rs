//! What is sealed: the blocks of a disk that are not its base's.

use std::ops::Range;
use std::path::Path;

use super::Result;
use super::format::{BaseRef, Header};
use crate::Error;
use crate::delta::{BLOCK, Delta, Parent, ParentKind};

/// A disk whose owned blocks can be read, while nobody writes to it.
pub trait Source {
    /// The disk and the base it stands on.
    fn header(&self) -> Header;

    /// The first run of owned blocks at or after block `from`. It may end before the blocks do that
    /// are owned.
    ///
    /// # Errors
    /// The layers cannot be read.
    fn next_owned(&self, from: u64) -> Result<Option<Range<u64>>>;

    /// Reads whole blocks from block `from` on, all of them owned. What lies past the disk's end
    /// is zeroes.
    ///
    /// # Errors
    /// The layers cannot be read.
    fn read(&self, from: u64, into: &mut [u8]) -> Result<()>;
}

/// What the layers over a base own, locked against writers.
#[derive(Debug)]
pub struct Owned {
    delta: Delta,
}

impl Owned {
    /// Opens and locks the delta at `path`.
    ///
    /// # Errors
    /// It is missing, damaged, or in use.
    pub fn open(path: &Path) -> Result<Owned> {
        Ok(Owned { delta: Delta::open(path)? })
    }
}

impl Source for Owned {
    fn header(&self) -> Header {
        let header = self.delta.header();
        Header { size: header.size, base: base(&header.parent) }
    }

    fn next_owned(&self, from: u64) -> Result<Option<Range<u64>>> {
        let size = self.delta.header().size;
        let mut at = from * BLOCK;
        while at < size {
            let (owned, len) = self.delta.run(at..size);
            if owned {
                return Ok(Some(at / BLOCK..(at + len).div_ceil(BLOCK)));
            }
            at += len;
        }
        Ok(None)
    }

    fn read(&self, from: u64, into: &mut [u8]) -> Result<()> {
        let (at, size) = (from * BLOCK, self.delta.header().size);
        let inside = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
        let (inside, past) = into.split_at_mut(inside.min(into.len()));
        let offset = self.delta.offset(at);
        let read = self.delta.storage().read_exact_at(inside, offset);
        read.map_err(Error::read(self.delta.path(), offset))?;
        past.fill(0);
        Ok(())
    }
}

fn base(parent: &Parent) -> Option<BaseRef> {
    let Parent { kind, digest, size, visible, .. } = *parent;
    (kind == ParentKind::Base).then_some(BaseRef { digest, size, visible })
}
