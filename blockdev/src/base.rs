//! Bases: immutable raw images.

mod digest;
mod import;

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use digest::{digest, verify};
#[cfg(test)]
pub(crate) use import::fill;
pub use import::{import, import_from};

use crate::copy::Raw;
use crate::io::{FileStorage, Storage};
use crate::open::{For, layer};
use crate::{Error, Result};

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

impl Identity {
    pub(crate) fn digest_bytes(&self) -> Result<[u8; 32]> {
        let hash = blake3::Hash::from_hex(&self.digest);
        hash.map(Into::into).map_err(|_| Error::Digest { digest: self.digest.clone() })
    }
}

/// A base that is open, locked and what was recorded of it.
#[derive(Debug)]
pub(crate) struct OpenBase {
    path: PathBuf,
    storage: Arc<dyn Storage>,
    identity: Identity,
}

impl OpenBase {
    pub(crate) fn open(base: &Base) -> Result<OpenBase> {
        let locked = layer(&base.path, For::Reading)?;
        let metadata = locked.0.metadata().map_err(Error::open(&base.path))?;
        check_unchanged(base, &metadata)?;
        Ok(OpenBase::new(base, Arc::new(FileStorage::locked(locked))))
    }

    /// `storage` holds what `base` says.
    pub(crate) fn new(base: &Base, storage: Arc<dyn Storage>) -> OpenBase {
        OpenBase { path: base.path.clone(), storage, identity: base.identity.clone() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// All of a base, to be copied, once its cheap identity has been checked.
///
/// # Errors
/// The file is missing, being written, or not what was recorded.
pub fn source(base: &Base) -> Result<Raw> {
    let locked = layer(&base.path, For::Reading)?;
    let metadata = locked.0.metadata().map_err(Error::open(&base.path))?;
    check_unchanged(base, &metadata)?;
    Raw::new(FileStorage::locked(locked), &base.path)
}

fn check_unchanged(base: &Base, found: &Metadata) -> Result<()> {
    let recorded = &base.identity;
    let changed = |what, expected: String, found: String| {
        Err(Error::BaseChanged { path: base.path.clone(), what, expected, found })
    };
    if found.len() != recorded.size {
        return changed("size", recorded.size.to_string(), found.len().to_string());
    }
    let mtime = mtime_ns(found);
    if mtime != recorded.mtime_ns {
        return changed("modification time", time(recorded.mtime_ns), time(mtime));
    }
    if found.ino() != recorded.inode {
        return changed("inode number", recorded.inode.to_string(), found.ino().to_string());
    }
    Ok(())
}

fn mtime_ns(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

/// Seconds since 1970, for people; `date -d @…` reads it.
fn time(ns: i64) -> String {
    format!("@{}.{:09}", ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000))
}

#[cfg(test)]
mod tests;
