//! A file that has its name only when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use uuid::Uuid;

use super::Existing;
use crate::delta::MAGIC;
use crate::io::{FileStorage, Storage};
use crate::{Error, Result};

/// Dropped before it is published, it is gone.
pub(super) struct Draft {
    /// Where it is until then; empty afterwards.
    path: PathBuf,
    to: PathBuf,
    existing: Existing,
    storage: FileStorage,
}

impl Draft {
    /// Starts an empty file beside `to`.
    pub(super) fn create(to: &Path, existing: Existing) -> Result<Draft> {
        refuse(to, existing)?;
        let name = format!(".offshoot-{}.part", Uuid::new_v4().simple());
        let path = to.with_file_name(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o666);
        // The name that was asked for is what people know.
        let file = options.open(&path).map_err(Error::create(to))?;
        Ok(Draft { path, to: to.into(), existing, storage: FileStorage::new(file) })
    }

    /// The file.
    pub(super) fn storage(&self) -> &dyn Storage {
        &self.storage
    }

    /// What it is going to be called, for errors.
    pub(super) fn target(&self) -> &Path {
        &self.to
    }

    /// Makes it durable and gives it its name.
    pub(super) fn publish(mut self) -> Result<()> {
        self.storage.sync().map_err(Error::sync(&self.to))?;
        refuse(&self.to, self.existing)?;
        let renamed = match self.existing {
            Existing::Replace => fs::rename(&self.path, &self.to),
            Existing::Keep => rename_new(&self.path, &self.to),
        };
        renamed.map_err(Error::create(&self.to))?;
        self.path = PathBuf::new();
        sync_parent(&self.to).map_err(Error::sync(&self.to))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.path != Path::new("")
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("{} is left behind: {error}", self.path.display());
        }
    }
}

/// Renames, where there is nothing of the new name.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // This filesystem cannot; a link never replaces anything.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        result => Ok(result?),
    }
}

/// Refuses what is in the way. What may be replaced is a regular file, or a symlink, which is not
/// followed.
fn refuse(to: &Path, existing: Existing) -> Result<()> {
    match fs::symlink_metadata(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::create(to)(error)),
        Ok(_) if existing == Existing::Keep => {
            Err(Error::create(to)(io::ErrorKind::AlreadyExists.into()))
        }
        Ok(found) if found.is_symlink() => Ok(()),
        Ok(found) if found.is_file() => refuse_layer(to),
        Ok(_) => Err(Error::NotAFile { path: to.into() }),
    }
}

/// Refuses to replace a disk's own delta, wherever it is.
fn refuse_layer(to: &Path) -> Result<()> {
    let mut start = Vec::with_capacity(MAGIC.len());
    let read =
        File::open(to).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut start));
    match read {
        Ok(_) if start == MAGIC => Err(Error::Layer { path: to.into() }),
        // What cannot be read is none that is in use here.
        _ => Ok(()),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}
