//! Giving a VM an empty delta in place of the one it has.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use blockdev::delta::{self, Heading, Parent, ParentKind};
use uuid::Uuid;

use super::Store;
use super::draft::Busy;
use super::fault;
use super::home::{self, Home};
use super::layer::{Alone, sync_file};
use super::lock::Lock;
use super::paths::{Paths, sync_dir};
use super::reset::goes_back_to;
use super::vm::Vm;
use crate::failure::{Code, Failure};

/// Bytes on the disk of a delta nobody has written to, at most.
const CLEAN: u64 = 64 << 10;

/// An empty delta that is to take the place of a VM's own. Dropped before it did, it is gone;
/// dropped after, what was there is, unless it has another name.
pub(super) struct Fresh {
    home: Home,
    draft: PathBuf,
    to: PathBuf,
    /// A name for what is replaced, where its last name must not go before it.
    old: PathBuf,
    dir: PathBuf,
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
        let top = vm.heading()?;
        if self.paths.layer(top.uuid).exists() || self.is_frozen_for_others(vm, &top)? {
            let mut own = Store::open(self.paths.root())?;
            let alone = Alone::enter(&self.paths)?;
            own.take_back(vm, &top)?;
            own.clean_below(&alone, vm)?;
        }
        let found = delta::inspect(&vm.delta())?;
        if found.parent.kind == ParentKind::Nothing {
            let what = "it is ephemeral and stands on nothing, so there is no clean state";
            return Err(Failure::new(Code::Integrity, what).into());
        }
        if found.owned_blocks == 0 && found.bytes_on_disk <= CLEAN {
            return Ok(());
        }
        let _busy = Busy::enter(&self.paths)?;
        let heading = vm.heading()?;
        let mut fresh = Fresh::make(&self.paths, vm, |path| delta::create_anew(path, &heading))?;
        fault::point("delta-cleaned");
        fresh.place()
    }

    /// Takes an ephemeral VM nobody runs off layers that were frozen of it while it ran so that others
    /// could stand on them: what it wrote is in them.
    pub(super) fn clean_below(&mut self, alone: &Alone, vm: &Vm) -> Result<()> {
        let top = vm.heading()?;
        if !self.is_frozen_for_others(vm, &top)? {
            return Ok(());
        }
        match goes_back_to(vm, &self.chain(vm)?) {
            Ok(parent) => self.stand_on(alone, vm, &parent, top.size.max(parent.size)),
            Err(error) => {
                log::debug!("{}: {}", vm.record.name, crate::failure::text(&error));
                Ok(())
            }
        }
    }

    /// Whether an ephemeral VM's delta stands on a layer that was frozen only for others.
    fn is_frozen_for_others(&self, vm: &Vm, top: &Heading) -> Result<bool> {
        if !vm.record.ephemeral || top.parent.kind != ParentKind::Delta {
            return Ok(false);
        }
        Ok(self.layer(top.parent.uuid)?.record()?.is_unsaved(&vm.record.id()))
    }
}

impl Fresh {
    /// Makes one in `tmp/`, where the caller is [`Busy`].
    ///
    /// # Errors
    /// The filesystem refuses.
    pub fn create(paths: &Paths, vm: &Vm, parent: &Parent, size: u64) -> Result<Fresh> {
        let fresh = Fresh::make(paths, vm, |path| delta::create(path, size, parent).map(drop))?;
        fault::point("delta-made");
        Ok(fresh)
    }

    fn make(
        paths: &Paths,
        vm: &Vm,
        create: impl FnOnce(&Path) -> blockdev::Result<()>,
    ) -> Result<Fresh> {
        let name = Uuid::new_v4().simple().to_string();
        let draft = paths.tmp().join(format!("delta-{name}"));
        let old = paths.tmp().join(format!("replaced-{name}"));
        let fresh = Fresh { home: vm.home(), draft, to: vm.entry(), old, dir: vm.dir.clone() };
        create(&fresh.home.place(&fresh.draft)?)?;
        Ok(fresh)
    }

    /// Makes its content durable, before it takes its place.
    ///
    /// # Errors
    /// The filesystem refuses.
    pub fn sync(&self) -> Result<()> {
        sync_file(&self.draft)?;
        self.home.sync()
    }

    /// Takes its place.
    ///
    /// # Errors
    /// The filesystem refuses; the old one is still there.
    pub fn place(&mut self) -> Result<()> {
        let (from, to) = (&self.draft, &self.to);
        let place = || {
            if self.home != Home::Store {
                fs::hard_link(to, &self.old)?;
            }
            fs::rename(from, to)
        };
        place().with_context(|| format!("cannot replace {}", to.display()))
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
        let _ = home::remove(&self.draft);
        let _ = home::remove(&self.old);
    }
}
