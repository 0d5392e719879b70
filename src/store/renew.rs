//! Giving a VM an empty delta in place of the one it has.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use blockdev::delta::{self, Parent, ParentKind};
use uuid::Uuid;

use super::Store;
use super::draft::Busy;
use super::fault;
use super::layer::sync_file;
use super::lock::Lock;
use super::paths::{Paths, sync_dir};
use super::vm::Vm;
use crate::failure::{Code, Failure};

/// Bytes on the disk of a delta nobody has written to, at most.
const CLEAN: u64 = 64 << 10;

/// An empty delta that is to take the place of a VM's own. Dropped before it did, it is gone.
pub(super) struct Fresh {
    draft: PathBuf,
    to: PathBuf,
    dir: PathBuf,
    placed: bool,
}

impl Store {
    /// Puts an empty delta of a disk of `size` bytes on `parent` in the place of a VM's own,
    /// durably. It takes effect with one rename; what was there is gone unless it has another
    /// name, too.
    ///
    /// # Errors
    /// It cannot be made: the old one is still there. Or the directory cannot be synced.
    pub(super) fn renew(&self, vm: &Vm, parent: &Parent, size: u64) -> Result<()> {
        let _busy = Busy::enter(&self.paths)?;
        let mut fresh = Fresh::create(&self.paths, vm, parent, size)?;
        fresh.sync()?;
        fresh.place()?;
        fresh.sync_place()?;
        fault::point("delta-replaced");
        Ok(())
    }

    /// Empties the delta of an ephemeral VM nobody runs, whatever became of it. Nothing is synced:
    /// what a power failure leaves is cleaned at the next start.
    ///
    /// # Errors
    /// It stands on nothing it could be like, or its delta cannot be made anew.
    pub fn clean(&self, vm: &Vm, _lock: &Lock) -> Result<()> {
        let found = delta::inspect(&vm.delta())?;
        if found.parent.kind == ParentKind::Nothing {
            let what = "it is ephemeral and stands on nothing, so there is no clean state";
            return Err(Failure::new(Code::Integrity, what).into());
        }
        if found.owned_blocks == 0 && found.bytes_on_disk <= CLEAN {
            return Ok(());
        }
        let _busy = Busy::enter(&self.paths)?;
        let draft = self.paths.tmp().join(format!("delta-{}", Uuid::new_v4().simple()));
        delta::create_anew(&draft, &vm.heading()?)?;
        fault::point("delta-cleaned");
        let to = vm.delta();
        fs::rename(&draft, &to).with_context(|| format!("cannot replace {}", to.display()))
    }
}

impl Fresh {
    /// Makes one in `tmp/`, where the caller is [`Busy`].
    ///
    /// # Errors
    /// The filesystem refuses.
    pub fn create(paths: &Paths, vm: &Vm, parent: &Parent, size: u64) -> Result<Fresh> {
        let draft = paths.tmp().join(format!("delta-{}", Uuid::new_v4().simple()));
        blockdev::delta::create(&draft, size, parent)?;
        fault::point("delta-made");
        Ok(Fresh { draft, to: vm.delta(), dir: vm.dir.clone(), placed: false })
    }

    /// Makes its content durable, before it takes its place.
    ///
    /// # Errors
    /// The filesystem refuses.
    pub fn sync(&self) -> Result<()> {
        sync_file(&self.draft)
    }

    /// Takes its place.
    ///
    /// # Errors
    /// The filesystem refuses; the old one is still there.
    pub fn place(&mut self) -> Result<()> {
        let (from, to) = (&self.draft, &self.to);
        fs::rename(from, to).with_context(|| format!("cannot replace {}", to.display()))?;
        self.placed = true;
        Ok(())
    }

    /// Makes durable that it is there.
    ///
    /// # Errors
    /// The filesystem refuses.
    pub fn sync_place(&self) -> Result<()> {
        sync_dir(&self.dir)
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.draft);
        }
    }
}
