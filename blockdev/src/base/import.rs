//! Takes an image in: a sparse raw copy, its digest computed on the way.

use std::fs::{self, File, OpenOptions, Permissions};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use uuid::Uuid;

use super::digest::hash;
use super::{Identity, mtime_ns};
use crate::copy::{Raw, Source, Stretch, Watch, clone_file, for_each_stretch, tell, write_sparse};
use crate::delta::{BLOCK, MAX_SIZE};
use crate::io::{FileStorage, Storage};
use crate::{Error, Result};

/// Copies the raw image `from` to the new file `to`, as [`import_from`] does. `progress` is told
/// bytes done and in all.
///
/// # Errors
/// As [`import_from`]; also when `from` is not a regular file or block device.
pub fn import(from: &Path, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Identity> {
    import_from(Box::new(Raw::open(from)?), to, &mut |done, all| {
        progress(done, all);
        ControlFlow::Continue(())
    })
}

/// Copies `source` to the new file `to` (mode 0444, synced) and returns what it is to be known by.
/// Holes stay holes and blocks of zeroes become holes; on a filesystem that can share blocks (XFS,
/// btrfs) the copy of a raw file shares them.
///
/// # Errors
/// `source` cannot be read or is too large for a disk; `to` exists; no space, which is said at
/// once where a small file unpacks to more than there is; `watch` broke it off. `to` is removed
/// again on any error. Only a killed process can leave it behind, so a caller who cannot have that
/// names a temporary file and renames it.
pub fn import_from(source: Box<dyn Source>, to: &Path, watch: Watch<'_>) -> Result<Identity> {
    let size = source.size();
    if size > MAX_SIZE {
        return Err(Error::Size { size, why: "the largest disk has 64 TiB" });
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(to).map_err(Error::create(to))?;
    let result = check_room(&*source, &file, to).and_then(|()| copy(source, file, to, watch));
    if result.is_err() {
        // We made it a moment ago. The first error is the one to tell.
        let _ = fs::remove_file(to);
    }
    result
}

/// Others live on that filesystem, too: what is going to fail must not fill it first.
fn check_room(source: &dyn Source, file: &File, to: &Path) -> Result<()> {
    let found = rustix::fs::fstatvfs(file).map_err(|error| Error::create(to)(error.into()))?;
    let (needed, free) = (source.unpacked(), found.f_bavail.saturating_mul(found.f_frsize));
    if needed > free {
        return Err(Error::Room { path: to.into(), needed, free });
    }
    Ok(())
}

fn copy(mut source: Box<dyn Source>, file: File, to: &Path, watch: Watch<'_>) -> Result<Identity> {
    let handle = || file.try_clone().map(FileStorage::new).map_err(Error::create(to));
    let target = handle()?;
    // A clone is hashed as it was taken, whatever happens to the original meanwhile.
    let cloned = clone_file(file.as_fd(), &*source);
    if cloned {
        source = Box::new(Raw::new(handle()?, to)?);
    }
    let into: Option<&dyn Storage> = if cloned { None } else { Some(&target) };
    let (size, digest) = fill(&mut *source, into, to, watch)?;
    file.set_permissions(Permissions::from_mode(0o444)).map_err(Error::create(to))?;
    file.sync_all().map_err(Error::sync(to))?;
    let metadata = file.metadata().map_err(Error::read(to, 0))?;
    Ok(Identity {
        uuid: Uuid::new_v4(),
        size,
        digest: digest.to_hex().to_string(),
        mtime_ns: mtime_ns(&metadata),
        inode: metadata.ino(),
    })
}

/// Writes all of `source` to `target`, where it is not there already, and returns size and digest.
pub(crate) fn fill(
    source: &mut dyn Source,
    target: Option<&dyn Storage>,
    to: &Path,
    watch: Watch<'_>,
) -> Result<(u64, blake3::Hash)> {
    let size = source.size();
    if let Some(target) = target {
        // From nothing: an attempt to clone that failed may have left something.
        target.set_len(0).and_then(|()| target.set_len(size)).map_err(Error::write(to, 0))?;
    }
    let mut hasher = blake3::Hasher::new();
    for_each_stretch(source, BLOCK, &mut |range, stretch| {
        hash(&mut hasher, &range, &stretch);
        if let (Some(target), Stretch::Data(bytes)) = (target, stretch) {
            write_sparse(target, bytes, range.start).map_err(Error::write(to, range.start))?;
        }
        tell(watch, range.end, size)
    })?;
    Ok((size, hasher.finalize()))
}
