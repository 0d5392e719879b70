//! Taking frozen layers away that nobody needs.
//!
//! What is deleted cannot be brought back, so the inventory is not enough: a layer stays while any
//! process has it open, or any delta in the store says it stands on it. In this order: who is about
//! to stand on a layer has it open until its delta says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use blockdev::delta::heading;
use uuid::Uuid;

use super::Store;
use super::draft::{Busy, Trash};
use super::fault;
use super::home::{self, Home};
use super::inventory::LayerRow;
use super::layer::{self, Alone};
use super::ofd;
use super::paths::sync_dir;
use super::reserve::Reserve;
use crate::failure::Failure;

impl Store {
    /// Removes the layers nobody needs any more in one step, and returns them. Those that somebody
    /// has open stay for the next time.
    ///
    /// # Errors
    /// The filesystem or the inventory refuses; they are whole then, or `doctor` lists them.
    pub(super) fn collect(&mut self, alone: &Alone) -> Result<Vec<Uuid>> {
        self.collect_and(alone, Away::Keep)
    }

    /// As [`collect`](Store::collect), and says what becomes of layers that are away.
    ///
    /// # Errors
    /// As [`collect`](Store::collect).
    pub(super) fn collect_and(&mut self, _: &Alone, away: Away) -> Result<Vec<Uuid>> {
        let removable = self.removable(away)?;
        if removable.is_empty() {
            return Ok(removable);
        }
        let _busy = Busy::enter(&self.paths)?;
        let change = self.inventory.change()?;
        for &uuid in &removable {
            change.forget(uuid).with_context(|| format!("others stand on layer {uuid}"))?;
        }
        let dirs = removable.iter().map(|&uuid| self.paths.layer(uuid));
        let trash = Trash::take(&self.paths, dirs)?;
        sync_dir(&self.paths.layers())?;
        fault::point("layer-removed");
        change.commit()?;
        trash.empty()?;
        Ok(removable)
    }

    /// Layers nobody needs, has open, or says it stands on; those on top first.
    fn removable(&self, away: Away) -> Result<Vec<Uuid>> {
        let mut garbage = self.lineage()?.garbage();
        let forgotten = |uuid| away == Away::Forget && Home::of(&self.layer_entry(uuid)).is_away();
        garbage.retain(|&uuid| forgotten(uuid) || !self.is_in_use(uuid));
        if garbage.is_empty() {
            return Ok(garbage);
        }
        if let Err(error) = self.refuse_untold() {
            log::warn!("layers nobody needs stay: {}", crate::failure::text(&error));
            return Ok(Vec::new());
        }
        let mut standing = self.standing()?;
        garbage.retain(|uuid| {
            let dir = self.paths.layer(*uuid);
            if standing.get(uuid).is_some_and(|on_it| !on_it.is_empty()) {
                log::debug!("{} stays: something stands on it", dir.display());
                return false;
            }
            standing.values_mut().for_each(|on_it| on_it.retain(|path| !path.starts_with(&dir)));
            true
        });
        Ok(garbage)
    }

    /// What [`prune`](Store::prune) would remove at this moment.
    ///
    /// # Errors
    /// The inventory or a directory cannot be read.
    pub fn prunable(&self, away: Away) -> Result<Vec<LayerRow>> {
        let removable = self.removable(away)?;
        let mut layers = self.inventory.layers()?;
        layers.retain(|row| removable.contains(&row.uuid));
        Ok(layers)
    }

    /// Frozen layers nobody needs: those on top first.
    ///
    /// # Errors
    /// The inventory cannot be read.
    pub fn garbage(&self) -> Result<Vec<LayerRow>> {
        let garbage = self.lineage()?.garbage();
        let mut layers = self.inventory.layers()?;
        layers.retain(|row| garbage.contains(&row.uuid));
        Ok(layers)
    }

    /// Removes all frozen layers nobody needs or has open, and returns them.
    ///
    /// # Errors
    /// The filesystem or the inventory refuses; they are whole then, or `doctor` lists them.
    pub fn prune(&mut self, away: Away) -> Result<Vec<Uuid>> {
        let alone = Alone::enter(&self.paths)?;
        let _reserve = Reserve::give_up(&self.paths);
        self.collect_and(&alone, away)
    }

    /// Whether a process has a frozen layer open, or that cannot be told.
    pub fn is_in_use(&self, layer: Uuid) -> bool {
        is_open(&self.layer_entry(layer))
    }

    fn layer_entry(&self, layer: Uuid) -> PathBuf {
        self.paths.layer(layer).join(layer::DELTA)
    }

    /// Refuses to go on while there is a delta that is away and in no row: nobody can tell what it
    /// stands on.
    ///
    /// # Errors
    /// There is: it is named.
    pub(super) fn refuse_untold(&self) -> Result<()> {
        let vms = self.inventory.vms()?.into_iter().map(|row| self.paths.vm(&row.id));
        let layers = self.inventory.layers()?.into_iter().map(|row| self.paths.layer(row.uuid));
        let known: BTreeSet<PathBuf> = vms.chain(layers).collect();
        for dir in self.owners()?.into_iter().filter(|dir| !known.contains(dir)) {
            let home = Home::of(&home::entry(&dir));
            home.refuse_away().with_context(|| dir.display().to_string())?;
        }
        Ok(())
    }

    /// The directories of all VMs and layers, known to the inventory or not.
    fn owners(&self) -> Result<Vec<PathBuf>> {
        let mut all = Vec::new();
        for dir in [self.paths.vms(), self.paths.layers()] {
            let read = || fs::read_dir(&dir)?.collect::<io::Result<Vec<_>>>();
            let entries = read().with_context(|| format!("cannot read {}", dir.display()))?;
            all.extend(entries.into_iter().map(|entry| entry.path()));
        }
        Ok(all)
    }

    /// Refuses to go on where somebody has a base open, or a delta says it stands on it.
    ///
    /// # Errors
    /// They are named.
    pub(super) fn refuse_users(&self, _: &Alone, path: &Path, base: Uuid) -> Result<()> {
        if is_open(path) {
            let hint = "wait until nothing of it is served, exported or copied";
            return Err(Failure::in_use("something is using it").hint(hint).into());
        }
        self.refuse_untold()?;
        match self.standing()?.get(&base).and_then(|on_it| on_it.first()) {
            None => Ok(()),
            Some(delta) => {
                let what = format!("{} stands on it", delta.display());
                Err(Failure::in_use(what).hint("offshoot doctor").into())
            }
        }
    }

    /// Which deltas stand on what, as they themselves say. Those that cannot be read say nothing.
    fn standing(&self) -> Result<BTreeMap<Uuid, Vec<PathBuf>>> {
        let mut standing: BTreeMap<Uuid, Vec<PathBuf>> = BTreeMap::new();
        for entry in self.owners()?.iter().map(|dir| home::entry(dir)) {
            if let Ok(found) = heading(&home::file(&entry)) {
                standing.entry(found.parent.uuid).or_default().push(entry);
            }
        }
        Ok(standing)
    }
}

/// What becomes of a delta whose directory is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// It is kept, and so is whose it is.
    Keep,
    /// The store forgets it, and its file stays where it is.
    Forget,
}

impl Away {
    /// What people who may say `--forget` want.
    pub fn of(forget: bool) -> Away {
        if forget { Away::Forget } else { Away::Keep }
    }
}

/// Whether a process has a layer open; every one that does has it locked. One that is away may be.
pub(super) fn is_open(path: &Path) -> bool {
    match File::open(path).and_then(|file| ofd::is_held(&file)) {
        Ok(held) => held,
        // What is not there nobody will miss; of anything else nothing can be told.
        Err(error) => error.kind() != io::ErrorKind::NotFound || Home::of(path).is_away(),
    }
}
