//! Directories between `tmp/` and their place: published whole, or taken away whole.
//!
//! ```text
//!   make:    tmp/<name>/ ── synced, if an image ── rename ──► images/ or vms/ ── row
//!   remove:  row deleted, not committed ── rename back to tmp/ ── commit ── delete
//! ```
//! A crash in between leaves something in `tmp/`, or a directory without a row, or a row without
//! a directory. None is mistaken for a whole one, and `doctor` lists each.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::FlockOperation;
use uuid::Uuid;

use super::fault;
use super::home;
use super::paths::{Paths, sync_dir};
use crate::failure::Failure;

/// Held while `tmp/` is worked in, so that `doctor` knows leftovers from work.
pub struct Busy {
    _tmp: File,
}

impl Busy {
    /// Says that somebody works in `tmp/`.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn enter(paths: &Paths) -> Result<Busy> {
        let path = paths.tmp();
        let tmp = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        rustix::fs::flock(&tmp, FlockOperation::LockShared).context("cannot lock tmp/")?;
        Ok(Busy { _tmp: tmp })
    }

    /// Whether nobody works in `tmp/`, so that all it holds is left over.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn nobody(paths: &Paths) -> Result<bool> {
        Ok(Busy::alone(paths)?.is_some())
    }

    /// Has `tmp/` alone, unless somebody works there.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn alone(paths: &Paths) -> Result<Option<Busy>> {
        let tmp = File::open(paths.tmp())?;
        let alone = rustix::fs::flock(&tmp, FlockOperation::NonBlockingLockExclusive);
        Ok(alone.is_ok().then_some(Busy { _tmp: tmp }))
    }
}

/// A directory being made. Dropped before [`keep`](Draft::keep), it is gone again.
pub struct Draft {
    path: PathBuf,
    kept: bool,
}

impl Draft {
    /// Starts an empty directory in `tmp/`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(paths: &Paths, name: &str) -> Result<Draft> {
        let path = paths.tmp().join(name);
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Draft { path, kept: false })
    }

    /// The place of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes its list of files durable; each file is the caller's to sync.
    ///
    /// # Errors
    /// The filesystem refuses.
    pub fn sync(&self) -> Result<()> {
        sync_dir(&self.path)
    }

    /// Moves it to its place, where it appears whole. What must survive a power failure is synced
    /// before, and the directory it moves into after.
    ///
    /// # Errors
    /// The place is taken, or the filesystem refuses.
    pub fn publish(&mut self, to: PathBuf) -> Result<()> {
        let moved = fs::rename(&self.path, &to).map_err(|error| match error.kind() {
            ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => {
                let what = "it is there already, and the inventory does not know it";
                Failure::in_use(what).hint("offshoot doctor --fix").into()
            }
            _ => anyhow::Error::new(error),
        });
        moved.with_context(|| format!("cannot create {}", to.display()))?;
        self.path = to;
        Ok(())
    }

    /// It is known to the inventory: it stays.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = home::remove(&self.path) {
            log::warn!("{} is left behind: {error}", self.path.display());
        }
    }
}

/// A directory on its way out.
#[must_use = "it is still on the disk"]
pub struct Trash {
    from: PathBuf,
    path: PathBuf,
}

impl Trash {
    /// Moves a directory from its place to `tmp/`; `None` when it was gone already.
    ///
    /// # Errors
    /// The filesystem refuses; the directory is still in its place then.
    pub fn take(paths: &Paths, from: PathBuf) -> Result<Option<Trash>> {
        if !from.exists() {
            return Ok(None);
        }
        let path = paths.tmp().join(format!("removed-{}", Uuid::new_v4().simple()));
        fs::rename(&from, &path).with_context(|| format!("cannot remove {}", from.display()))?;
        Ok(Some(Trash { from, path }))
    }

    /// Puts it back: the inventory still has it.
    pub fn restore(self) {
        if let Err(error) = fs::rename(&self.path, &self.from) {
            log::error!("cannot move {} back: {error}", self.path.display());
        }
    }

    /// Deletes it.
    ///
    /// # Errors
    /// The filesystem refuses; `doctor` lists the rest.
    pub fn empty(self) -> Result<()> {
        fault::point("trash-taken");
        home::remove(&self.path).with_context(|| format!("cannot delete {}", self.path.display()))
    }
}
