//! Reads whole images: BLAKE3 over every byte, holes included, without reading the holes.

use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Base, Digest, Identity, mtime_ns};
use crate::copy::{Raw, Source, Stretch, for_each_stretch};
use crate::io::FileStorage;
use crate::open::{For, layer};
use crate::{Error, Result};

/// Reads the whole file and returns its digest.
///
/// # Errors
/// The file cannot be read.
pub fn digest(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Digest> {
    digest_of(FileStorage::locked(layer(path, For::Reading)?), path, progress)
}

/// Reads the whole base, whatever its times and inode say, and returns its identity as it is now:
/// the recorded one, or that with the times and inode of a faithful copy.
///
/// # Errors
/// The file cannot be read, or its size or digest is another one.
pub fn verify(base: &Base, progress: &mut dyn FnMut(u64, u64)) -> Result<Identity> {
    let path = &base.path;
    let changed = |what, expected: &dyn ToString, found: &dyn ToString| Error::BaseChanged {
        path: path.clone(),
        what,
        expected: expected.to_string(),
        found: found.to_string(),
    };
    let locked = layer(path, For::Reading)?;
    let metadata = locked.0.metadata().map_err(Error::open(path))?;
    let recorded = &base.identity;
    if metadata.len() != recorded.size {
        return Err(changed("size", &recorded.size, &metadata.len()));
    }
    let found = digest_of(FileStorage::locked(locked), path, progress)?;
    if found != recorded.digest {
        return Err(changed("digest", &recorded.digest, &found));
    }
    Ok(Identity { mtime_ns: mtime_ns(&metadata), inode: metadata.ino(), ..recorded.clone() })
}

fn digest_of(
    storage: FileStorage,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Digest> {
    let mut raw = Raw::new(storage, path)?;
    let size = raw.size();
    let mut hasher = blake3::Hasher::new();
    for_each_stretch(&mut raw, 1, &mut |range, stretch| {
        hash(&mut hasher, &range, &stretch);
        progress(range.end, size);
        Ok(())
    })?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Adds a stretch to a digest.
pub(super) fn hash(hasher: &mut blake3::Hasher, range: &Range<u64>, stretch: &Stretch<'_>) {
    static ZEROES: [u8; 64 * 1024] = [0; 64 * 1024];
    let Stretch::Hole = stretch else {
        if let Stretch::Data(bytes) = stretch {
            hasher.update(bytes);
        }
        return;
    };
    let mut left = range.end - range.start;
    while left > 0 {
        let len = usize::try_from(left).map_or(ZEROES.len(), |left| left.min(ZEROES.len()));
        hasher.update(&ZEROES[..len]);
        left -= len as u64;
    }
}
