//! Bases: immutable raw images.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Result;

/// A BLAKE3 digest of a file's bytes, holes read as zeroes. Written as 64 hex digits.
pub type Digest = String;

/// What a base is known by. Recorded at import; compared at every open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Given at import.
    pub uuid: Uuid,
    /// The file's length in bytes; any number.
    pub size: u64,
    /// Of the whole content.
    pub digest: Digest,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Inode number.
    pub inode: u64,
}

/// A base: where it is and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// The raw image file.
    pub path: PathBuf,
    /// What was recorded of it.
    pub identity: Identity,
}

/// Copies the raw image `from` to the new file `to` (mode 0444, synced), holes kept as holes,
/// and returns what it is to be known by. `progress` is told bytes done and in all.
///
/// # Errors
/// `from` cannot be read or is not a regular file or block device; `to` exists; no space. `to`
/// is removed again on any error.
pub fn import(from: &Path, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Identity> {
    let _ = (from, to, progress);
    todo!()
}

/// Reads the whole file and returns its digest.
///
/// # Errors
/// The file cannot be read.
pub fn digest(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Digest> {
    let _ = (path, progress);
    todo!()
}
