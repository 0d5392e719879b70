//! A frozen delta: open for reading, below others.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{Header, SectorBits};
use super::load;
use crate::Result;
use crate::io::{FileStorage, Storage};
use crate::open::{For, layer};

/// A delta nobody writes to. Its bitmap stays in the file: the owner map answers for it.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    path: PathBuf,
    storage: Arc<dyn Storage>,
    header: Header,
}

impl Frozen {
    /// Opens the delta at `path` and locks it shared.
    pub(crate) fn open(path: &Path) -> Result<Frozen> {
        Frozen::load(path, Arc::new(FileStorage::locked(layer(path, For::Reading)?)))
    }

    /// Reads the delta in `storage`; `path` is what errors call it.
    pub(crate) fn load(path: &Path, storage: Arc<dyn Storage>) -> Result<Frozen> {
        let header = load::header(&*storage, path)?;
        Ok(Frozen { path: path.into(), storage, header })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Where in the file byte `at` of the disk lies, if it is owned.
    pub(crate) fn offset(&self, at: u64) -> u64 {
        self.header.data_offset + at
    }

    /// Calls `visit` with number and bits of those of `sectors` that own something.
    /// Somebody may be merging into it: then some of what it will own is there already.
    pub(crate) fn bitmap(
        &self,
        sectors: Range<u64>,
        visit: impl FnMut(u64, &SectorBits),
    ) -> Result<()> {
        load::sectors(&*self.storage, &self.path, &self.header, sectors, true, visit)
    }
}
