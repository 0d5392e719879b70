//! Takes a raw image in: a sparse copy, its digest computed on the way.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use uuid::Uuid;

use super::digest::{Stretch, for_each_stretch, hash};
use super::{Identity, mtime_ns};
use crate::delta::BLOCK_LEN;
use crate::io::{FileStorage, Storage};
use crate::{Error, Result};

/// Copies the raw image `from` to the new file `to` (mode 0444, synced) and returns what it is to
/// be known by. Holes stay holes and blocks of zeroes become holes; on a filesystem that can share
/// blocks (XFS, btrfs) the copy shares them. `progress` is told bytes done and in all.
///
/// # Errors
/// `from` cannot be read or is not a regular file or block device; `to` exists; no space. `to`
/// is removed again on any error. Only a killed process can leave it behind, so a caller who
/// cannot have that names a temporary file and renames it.
pub fn import(from: &Path, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Identity> {
    let source = open_source(from)?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(Error::create(to))?;
    let result = copy(source, from, file, to, progress);
    if result.is_err() {
        // We made it a moment ago. The first error is the one to tell.
        let _ = fs::remove_file(to);
    }
    result
}

/// The user's own path, so symlinks are followed.
fn open_source(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    // NONBLOCK: opening a FIFO must not wait for its other end.
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(path).map_err(Error::open(path))?;
    let kind = file.metadata().map_err(Error::open(path))?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(Error::NotAFile { path: path.into() });
    }
    Ok(file)
}

fn copy(
    source: File,
    from: &Path,
    file: File,
    to: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Identity> {
    let cloned = rustix::fs::ioctl_ficlone(&file, &source).is_ok();
    let writable = file.try_clone().map_err(Error::create(to))?;
    let target = FileStorage::new(writable);
    let source = FileStorage::new(source);
    // A clone is hashed as it was taken, whatever happens to the original meanwhile.
    let (read, name): (&dyn Storage, _) = if cloned { (&target, to) } else { (&source, from) };
    let size = read.len().map_err(Error::read(name, 0))?;
    if !cloned {
        // From nothing: an attempt to clone that failed may have left something.
        target.set_len(0).and_then(|()| target.set_len(size)).map_err(Error::write(to, 0))?;
    }
    let mut hasher = blake3::Hasher::new();
    for_each_stretch(read, name, size, &mut |range, stretch| {
        hash(&mut hasher, &range, &stretch);
        if let (false, Stretch::Data(bytes)) = (cloned, stretch) {
            write_sparse(&target, bytes, range.start).map_err(Error::write(to, range.start))?;
        }
        progress(range.end, size);
        Ok(())
    })?;
    file.set_permissions(Permissions::from_mode(0o444)).map_err(Error::create(to))?;
    file.sync_all().map_err(Error::sync(to))?;
    let metadata = file.metadata().map_err(Error::read(to, 0))?;
    Ok(Identity {
        uuid: Uuid::new_v4(),
        size,
        digest: hasher.finalize().to_hex().to_string(),
        mtime_ns: mtime_ns(&metadata),
        inode: metadata.ino(),
    })
}

/// Writes `bytes` to a hole, leaving blocks of zeroes out.
fn write_sparse(target: &dyn Storage, bytes: &[u8], at: u64) -> io::Result<()> {
    for run in runs_of_data(bytes) {
        target.write_all_at(&bytes[run.clone()], at + run.start as u64)?;
    }
    Ok(())
}

/// The ranges of `bytes`, in whole blocks, that are not all zeroes.
fn runs_of_data(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    for block in bytes.chunks(BLOCK_LEN) {
        let range = at..at + block.len();
        at = range.end;
        if block.iter().all(|&byte| byte == 0) {
            continue;
        }
        match runs.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => runs.push(range),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_zeroes_become_holes() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(2 << 20).unwrap();
        let target = FileStorage::new(file.try_clone().unwrap());
        let mut bytes = vec![0; 2 << 20];
        bytes[1 << 20] = 1;
        write_sparse(&target, &bytes, 0).unwrap();
        assert!(file.metadata().unwrap().blocks() * 512 <= 64 << 10, "one block, and some slack");
        let mut found = vec![7; 2 << 20];
        (&target as &dyn Storage).read_exact_at(&mut found, 0).unwrap();
        assert!(found == bytes);
    }

    #[test]
    fn runs_of_data_leave_blocks_of_zeroes_out() {
        let mut bytes = vec![0; 5 * 4096 + 100];
        assert_eq!(runs_of_data(&bytes), Vec::<Range<usize>>::new());
        for at in [4096, 3 * 4096 - 1, 5 * 4096 + 99] {
            bytes[at] = 1;
        }
        assert_eq!(runs_of_data(&bytes), [4096..3 * 4096, 5 * 4096..5 * 4096 + 100]);
    }
}
