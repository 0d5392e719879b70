//! Deltas: the blocks written since the parent. docs/delta-format.md has every byte.

use std::path::Path;

use uuid::Uuid;

use crate::Result;
use crate::base::{Digest, Identity};

/// What a delta's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// This delta's own.
    pub uuid: Uuid,
    /// The disk's length in bytes.
    pub size: u64,
    /// The parent's uuid.
    pub parent_uuid: Uuid,
    /// The parent's length in bytes.
    pub parent_size: u64,
    /// The parent's digest.
    pub parent_digest: Digest,
    /// How many 4 KiB blocks the delta owns.
    pub owned_blocks: u64,
    /// Bytes the file takes on its filesystem.
    pub bytes_on_disk: u64,
}

/// Creates an empty delta of a disk of `size` bytes (at least the parent's, a multiple of 512) on
/// top of `parent`, durable when this returns except for its directory entry.
///
/// # Errors
/// The file exists, the size is wrong, or the filesystem refuses.
pub fn create(path: &Path, size: u64, parent: &Identity) -> Result<Uuid> {
    let _ = (path, size, parent);
    todo!()
}

/// Reads what a delta says of itself, without locking it.
///
/// # Errors
/// It is no delta, is damaged, or is of a newer version.
pub fn inspect(path: &Path) -> Result<Info> {
    let _ = path;
    todo!()
}
