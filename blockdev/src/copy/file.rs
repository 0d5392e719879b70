//! Raw files as source and as target.

use std::fs::OpenOptions;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Source;
use crate::delta::BLOCK_LEN;
use crate::io::{FileStorage, Storage};
use crate::{Error, Extent, Result};

/// A raw disk image: the file's bytes are the disk's.
#[derive(Debug)]
pub struct Raw {
    storage: FileStorage,
    path: PathBuf,
    size: u64,
}

impl Raw {
    /// Opens the file or block device at `path`, which is a path and nothing else: no protocol,
    /// no options. It is the user's own, so symlinks are followed.
    ///
    /// # Errors
    /// It cannot be opened or is neither; a FIFO does not make us wait.
    pub fn open(path: &Path) -> Result<Raw> {
        let regular = |file: std::fs::FileType| file.is_file() || file.is_block_device();
        let not_a_file = || Error::NotAFile { path: path.into() };
        // Opening alone does something to some devices.
        let found = path.metadata().map_err(Error::open(path))?;
        if !regular(found.file_type()) {
            return Err(not_a_file());
        }
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        let file = options.open(path).map_err(Error::open(path))?;
        if !regular(file.metadata().map_err(Error::open(path))?.file_type()) {
            return Err(not_a_file());
        }
        Raw::new(FileStorage::new(file), path)
    }

    /// What `storage`, opened at `path`, holds now.
    pub(crate) fn new(storage: FileStorage, path: &Path) -> Result<Raw> {
        let size = storage.len().map_err(Error::read(path, 0))?;
        Ok(Raw { storage, path: path.into(), size })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the start of `buf` and returns how many bytes there were before the end.
    pub(crate) fn read_some(&self, buf: &mut [u8], at: u64) -> Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let count = left.min(buf.len());
        let storage: &dyn Storage = &self.storage;
        let result = storage.read_exact_at(&mut buf[..count], at);
        result.map(|()| count).map_err(Error::read(&self.path, at))
    }
}

impl Source for Raw {
    fn size(&self) -> u64 {
        self.size
    }

    fn extent(&mut self, at: u64) -> Result<(Extent, u64)> {
        let storage: &dyn Storage = &self.storage;
        let data = storage.data_in(at..self.size).map_err(Error::read(&self.path, at))?;
        let data = data.unwrap_or(self.size..self.size);
        if at < data.start {
            return Ok((Extent::Zero, data.start - at));
        }
        Ok((Extent::Data, data.end.saturating_sub(at)))
    }

    fn read(&mut self, buf: &mut [u8], at: u64) -> Result<()> {
        let storage: &dyn Storage = &self.storage;
        storage.read_exact_at(buf, at).map_err(Error::read(&self.path, at))
    }

    fn raw(&self) -> Option<BorrowedFd<'_>> {
        self.storage.fd()
    }
}

/// Makes `target` share the blocks of `source`, all of them, or says that it cannot.
pub(crate) fn clone_file(target: BorrowedFd<'_>, source: &dyn Source) -> bool {
    source.raw().is_some_and(|raw| rustix::fs::ioctl_ficlone(target, raw).is_ok())
}

/// Writes `bytes` to a hole, leaving blocks of zeroes out.
pub(crate) fn write_sparse(target: &dyn Storage, bytes: &[u8], at: u64) -> io::Result<()> {
    for run in runs_of_data(bytes, BLOCK_LEN) {
        target.write_all_at(&bytes[run.clone()], at + run.start as u64)?;
    }
    Ok(())
}

/// The ranges of `bytes`, in whole blocks, that are not all zeroes.
pub(crate) fn runs_of_data(bytes: &[u8], block: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    for block in bytes.chunks(block) {
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
    use std::os::unix::fs::MetadataExt;

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
    fn what_is_cut_off_while_it_is_read_is_no_hole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let mut raw = Raw::open(file.path()).unwrap();
        assert_eq!(raw.extent(4096).unwrap(), (Extent::Zero, (1 << 20) - 4096));
        file.as_file().set_len(1 << 19).unwrap();
        assert!(matches!(raw.extent(4096).unwrap_err(), Error::Read { .. }));
    }

    #[test]
    fn runs_of_data_leave_blocks_of_zeroes_out() {
        let mut bytes = vec![0; 5 * 4096 + 100];
        assert_eq!(runs_of_data(&bytes, 4096), Vec::<Range<usize>>::new());
        for at in [4096, 3 * 4096 - 1, 5 * 4096 + 99] {
            bytes[at] = 1;
        }
        assert_eq!(runs_of_data(&bytes, 4096), [4096..3 * 4096, 5 * 4096..5 * 4096 + 100]);
    }
}
