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

/// Directories on their way out. Dropped before [`empty`](Trash::empty), they are back in their
/// places: the inventory still has them.
#[must_use = "they are still on the disk"]
pub struct Trash {
    taken: Vec<Taken>,
}

/// A directory that was moved to `tmp/`.
struct Taken {
    from: PathBuf,
    path: PathBuf,
}

impl Trash {
    /// Moves directories from their places to `tmp/`, but for those that are gone already.
    ///
    /// # Errors
    /// The filesystem refuses; all are in their places then.
    pub fn take(paths: &Paths, all: impl IntoIterator<Item = PathBuf>) -> Result<Trash> {
        let mut trash = Trash { taken: Vec::new() };
        for from in all.into_iter().filter(|from| from.exists()) {
            let path = paths.tmp().join(format!("removed-{}", Uuid::new_v4().simple()));
            fs::rename(&from, &path)
                .with_context(|| format!("cannot remove {}", from.display()))?;
            trash.taken.push(Taken { from, path });
        }
        Ok(trash)
    }

    /// Deletes them. All are tried, even if one stays.
    ///
    /// # Errors
    /// The filesystem refuses; `doctor` lists the rest.
    pub fn empty(mut self) -> Result<()> {
        fault::point("trash-taken");
        let taken = std::mem::take(&mut self.taken);
        let delete = |Taken { path, .. }| {
            home::remove(&path).with_context(|| format!("cannot delete {}", path.display()))
        };
        taken.into_iter().map(delete).fold(Ok(()), Result::and)
    }
}

impl Drop for Trash {
    fn drop(&mut self) {
        for Taken { from, path } in &self.taken {
            if let Err(error) = fs::rename(path, from) {
                log::error!("cannot move {} back: {error}", path.display());
            }
        }
    }
}
