//! Deltas: the blocks written since the parent. docs/delta-format.md has every byte.

mod bitmap;
mod commit;
mod format;
mod frozen;
#[cfg(any(test, feature = "test-support"))]
pub(crate) mod fuzz;
mod gate;
mod heading;
mod live;
pub(crate) mod load;
mod merge;
mod ranges;
mod rewrite;
mod window;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use uuid::Uuid;

use crate::io::{FileStorage, Storage};
use crate::open::unlocked;
use crate::{Error, Result};

#[cfg(test)]
pub(crate) use bitmap::{Bitmap, Snapshot};
use format::COPIES;
pub(crate) use format::{
    BLOCK, BLOCK_LEN, Header, MAGIC, MAX_SIZE, SECTOR, SECTOR_BLOCKS, SECTOR_LEN, SECTOR_WORDS,
    SectorBits, valid_size,
};
pub use format::{Parent, ParentKind, State};
pub(crate) use frozen::Frozen;
pub use heading::{Heading, heading};
pub(crate) use live::{Delta, Permit};
#[cfg(test)]
pub(crate) use {commit::Commits, gate::Gate, ranges::RangeLocks};

/// What a delta's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// This delta's own.
    pub uuid: Uuid,
    /// Its content's number: others pin it with the uuid.
    pub epoch: u64,
    /// What may be done with it.
    pub state: State,
    /// The disk's length in bytes.
    pub size: u64,
    /// What it stands on.
    pub parent: Parent,
    /// How many 4 KiB blocks the delta owns.
    pub owned_blocks: u64,
    /// Bytes the file takes on its filesystem.
    pub bytes_on_disk: u64,
}

impl Info {
    /// This delta as the parent of another one.
    #[must_use]
    pub fn as_parent(&self) -> Parent {
        Parent::delta(self.uuid, self.epoch, self.size)
    }
}

/// Creates an empty delta of a disk of `size` bytes (at least what shows of the parent, a
/// multiple of 512) on top of `parent`. Neither the file nor its directory entry is synced: there is nothing in it to
/// lose until somebody writes to it, and who lets a guest do so syncs both first.
///
/// # Errors
/// The file exists, the size is wrong, or the filesystem refuses. Nothing is left behind.
pub fn create(path: &Path, size: u64, parent: &Parent) -> Result<Uuid> {
    let header = new_header(size, parent)?;
    create_with(path, &header)?;
    Ok(header.uuid)
}

fn create_with(path: &Path, header: &Header) -> Result<()> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    let file = File::from(file.map_err(io::Error::from).map_err(Error::create(path))?);
    let result = format(&FileStorage::new(file), header);
    if result.is_err() {
        // We made it a moment ago, and it is no delta yet. The first error is the one to tell.
        let _ = fs::remove_file(path);
    }
    result.map_err(Error::create(path))
}

/// Creates at `path` the delta that `heading` is of as it was when it was new: empty, and otherwise
/// the same. It is to take that one's place, and nobody has that one open. Nothing is synced.
///
/// # Errors
/// The file exists, or the filesystem refuses. Nothing is left behind.
pub fn create_anew(path: &Path, heading: &Heading) -> Result<()> {
    let header = Header::new(heading.uuid, heading.size, heading.parent.clone());
    create_with(path, &header)
}

fn new_header(size: u64, parent: &Parent) -> Result<Header> {
    valid_size(size).map_err(|why| Error::Size { size, why })?;
    if size < parent.visible {
        return Err(Error::Size { size, why: "its parent is larger" });
    }
    Ok(Header::new(Uuid::new_v4(), size, parent.clone()))
}

fn format(storage: &dyn Storage, header: &Header) -> io::Result<()> {
    let mut bytes = [0; COPIES[1] + SECTOR_LEN];
    for at in COPIES {
        bytes[at..at + SECTOR_LEN].copy_from_slice(&header.encode());
    }
    storage.write_all_at(&bytes, 0)?;
    storage.set_len(header.file_len())
}

/// Reads what a delta says of itself, without locking it.
///
/// # Errors
/// It is no delta, is damaged, or is of a newer version.
pub fn inspect(path: &Path) -> Result<Info> {
    let file = unlocked(path)?;
    let metadata = file.metadata().map_err(Error::open(path))?;
    let storage = FileStorage::new(file);
    let header = load::header(&storage, path)?;
    let mut owned_blocks = 0;
    load::bitmap(&storage, path, &header, true, |sector, bits| {
        owned_blocks += header.owned_in(sector, bits);
    })?;
    Ok(Info {
        uuid: header.uuid,
        epoch: header.epoch,
        state: header.state,
        size: header.size,
        parent: header.parent,
        owned_blocks,
        bytes_on_disk: metadata.blocks() * 512,
    })
}

/// Freezes the delta at `path`, which nobody has open: others may stand on it from now on, and
/// nobody writes to it. Does nothing where it is frozen already.
///
/// # Errors
/// It is in use, damaged, or only part of a merge; or the filesystem fails.
pub fn freeze(path: &Path) -> Result<()> {
    let delta = Delta::open(path)?;
    match delta.header().state {
        State::Absorbing(child) => Err(Error::Absorbing { path: path.into(), child }),
        _ => delta.freeze(),
    }
}

/// Makes the delta at `path`, which nobody has open and on which nobody stands, live again.
///
/// # Errors
/// It is in use, damaged, or only part of a merge; or the filesystem fails.
pub fn thaw(path: &Path) -> Result<()> {
    let delta = Delta::open(path)?;
    match delta.header().state {
        State::Absorbing(child) => Err(Error::Absorbing { path: path.into(), child }),
        _ => delta.thaw(),
    }
}

/// An empty delta in `storage`, as [`create`] makes one in a file, and synced.
///
/// # Errors
/// The size is wrong, or the storage refuses.
#[cfg(any(test, feature = "test-support"))]
pub fn create_in(storage: &dyn Storage, size: u64, parent: &Parent) -> Result<Uuid> {
    let header = new_header(size, parent)?;
    let made = format(storage, &header).and_then(|()| storage.sync());
    made.map_err(Error::create(Path::new("delta")))?;
    Ok(header.uuid)
}

#[cfg(test)]
mod tests;
