//! Freezing a VM's delta into a layer, with an empty one on it in its place.
//!
//! ```text
//!   vms/<id>/delta ══ layers/<uuid>/delta    1 the layer's directory appears, with a hard link
//!   vms/<id>/delta ──► layers/<uuid>/delta   2 a new delta on it takes the VM's place
//!                                            3 the inventory knows
//!                                            4 the writer goes on to the new one, the old is frozen
//! ```
//! After each step a start finds all that was written. What a crash left undone [`Store::settle`]
//! completes, or after step 1 takes back, before anything else is done to the chain.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use blockdev::delta::{self, Heading, ParentKind, State};
use uuid::Uuid;

use super::Store;
use super::chain::{Chain, DEEPEST, parent_of};
use super::draft::{Busy, Draft, Trash};
use super::fault;
use super::home;
use super::inventory::Link;
use super::layer::{self, Alone, Record, sync_file};
use super::lock::Lock;
use super::name::Name;
use super::paths::{RECORD_VERSION, save, sync_dir};
use super::time::Timestamp;
use super::vm::Vm;
use super::writer::{Pause, Writer};
use crate::failure::{Code, Failure};

/// What people know a layer by.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    /// Of a snapshot; nothing where a clone needs the layer.
    pub name: Option<Name>,
    /// For people.
    pub notes: String,
}

impl Store {
    /// Freezes what a VM has written so far, and returns the layer it is in now.
    ///
    /// # Errors
    /// There is no room, or its writer does not go on to the new delta. The VM's disk reads as it
    /// did, and the next snapshot or start completes what was begun.
    pub(super) fn freeze(
        &mut self,
        alone: &Alone,
        vm: &Vm,
        writer: &Writer,
        mark: Mark,
    ) -> Result<(Uuid, Pause)> {
        if let Writer::Monitor(monitor) = writer {
            monitor.refuse_busy()?;
        }
        self.settle(alone, vm, writer)?;
        let chain = self.chain(vm)?;
        let old = &chain.top;
        refuse_half_merged(vm, &chain)?;
        refuse_too_deep(vm, &chain)?;
        self.publish(vm, old, mark)?;
        fault::point("layer-published");
        if let Err(error) = self.renew(vm, &old.as_parent(), old.size) {
            // It is still the VM's own; or, after a failed sync, perhaps not.
            let _ = vm.heading().map(|top| self.take_back(vm, &top));
            return Err(error);
        }
        self.index(vm)?;
        fault::point("layer-indexed");
        let pause = self.go_on(vm, old.uuid, writer)?;
        Ok((old.uuid, pause))
    }

    /// Completes what a crash has left half done to a VM's chain, all of which must be there.
    ///
    /// # Errors
    /// A layer is missing or damaged, or the writer does not go on.
    pub(super) fn settle(&mut self, alone: &Alone, vm: &Vm, writer: &Writer) -> Result<()> {
        let chain = self.chain(vm)?;
        let top = &chain.top;
        self.take_back(vm, top)?;
        if top.parent.kind == ParentKind::Delta
            && self.layer(top.parent.uuid)?.heading.state == State::Live
        {
            self.go_on(vm, top.parent.uuid, writer)?;
        }
        if !self.is_indexed(vm, top)? {
            self.index(vm)?;
        }
        match writer {
            Writer::Nobody(_) => self.clean_below(alone, vm),
            Writer::Monitor(_) => Ok(()),
        }
    }

    /// Whether the inventory has what a VM's delta says.
    ///
    /// # Errors
    /// The inventory cannot be read.
    pub fn is_indexed(&self, vm: &Vm, top: &Heading) -> Result<bool> {
        let id = vm.record.id();
        let (known, below) = (self.inventory.top(&id)?, self.inventory.parent(&id)?);
        Ok(known == top.uuid && below == parent_of(top))
    }

    /// Freezes the layer a VM's delta stands on where a crash came before that. Nobody runs it.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn settle_stopped(&self, vm: &Vm, _lock: &Lock) -> Result<()> {
        let top = vm.heading()?;
        if top.parent.kind == ParentKind::Delta {
            let layer = self.layer(top.parent.uuid)?;
            if layer.heading.state == State::Live {
                delta::freeze(&layer.delta())?;
            }
        }
        Ok(())
    }

    /// Removes the directory of a layer that did not become one: the VM's delta is still its own.
    pub(super) fn take_back(&self, vm: &Vm, top: &Heading) -> Result<()> {
        let dir = self.paths.layer(top.uuid);
        if !dir.exists() {
            return Ok(());
        }
        let inode = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino()));
        if inode(&home::file(&dir.join(layer::DELTA)))? != inode(&vm.delta())? {
            let what = format!("layer {} is there twice", top.uuid);
            return Err(Failure::new(Code::Integrity, what).hint("offshoot doctor").into());
        }
        let _busy = Busy::enter(&self.paths)?;
        Trash::take(&self.paths, [dir])?.empty()
    }

    /// Makes the layer's directory: the delta is in both places then.
    fn publish(&self, vm: &Vm, old: &Heading, mark: Mark) -> Result<()> {
        let _busy = Busy::enter(&self.paths)?;
        // Nothing of a VM that has never been started is durable yet.
        self.sync_vm(vm)?;
        let record = Record {
            version: RECORD_VERSION,
            uuid: old.uuid,
            name: mark.name,
            vm: vm.record.id(),
            origin: vm.record.name.clone(),
            created: Timestamp::now(),
            notes: mark.notes,
        };
        // Not the layer's uuid: a snapshot that was killed here may have left that.
        let draft = format!("layer-{}", Uuid::new_v4().simple());
        let mut draft = Draft::create(&self.paths, &draft)?;
        save(&draft.file(layer::RECORD), &record)?;
        let link = draft.file(layer::DELTA);
        fs::hard_link(vm.entry(), &link)
            .with_context(|| format!("cannot link {}", link.display()))?;
        sync_file(&link)?;
        draft.sync()?;
        fault::point("layer-made");
        draft.publish(self.paths.layer(old.uuid))?;
        draft.keep();
        sync_dir(&self.paths.layers())
    }

    /// Has the writer of `layer` go on to the VM's delta, which stands on it.
    fn go_on(&self, vm: &Vm, layer: Uuid, writer: &Writer) -> Result<Pause> {
        let path = home::file(&self.paths.layer(layer).join(layer::DELTA));
        let Writer::Monitor(monitor) = writer else {
            delta::freeze(&path)?;
            return Ok(None);
        };
        let error = match monitor.go_on(&vm.delta()) {
            Ok(pause) => return Ok(Some(pause)),
            Err(error) => error,
        };
        // It did, and could not say so; or it ended meanwhile.
        if delta::heading(&path)?.state != State::Live {
            return Ok(None);
        }
        match Lock::take(&vm.dir) {
            Ok(_lock) => Ok(delta::freeze(&path).map(|()| None)?),
            Err(_) => Err(error.context("its monitor does not go on to a new delta")),
        }
    }

    /// Brings the inventory to what the files say of a VM's chain.
    ///
    /// # Errors
    /// A layer is missing or damaged, or the database cannot be written.
    pub(super) fn index(&mut self, vm: &Vm) -> Result<()> {
        self.index_unsynced(vm)?;
        self.inventory.sync()
    }

    /// As [`index`](Store::index), and does not wait for the disk.
    pub(super) fn index_unsynced(&mut self, vm: &Vm) -> Result<()> {
        let chain = self.chain(vm)?;
        let records = chain.frozen.iter().map(layer::Layer::record).collect::<Result<Vec<_>>>()?;
        let id = vm.record.id();
        let old = self.inventory.top(&id)?;
        let change = self.inventory.change()?;
        for (layer, record) in chain.frozen.iter().zip(&records) {
            change.link(link(&layer.heading))?;
            change.insert_snapshot(record)?;
        }
        change.link(link(&chain.top))?;
        let image = chain.image.map(|image| image.record.digest).or(vm.record.image.clone());
        change.set_top(&id, chain.top.uuid, image.as_deref())?;
        if old != chain.top.uuid && !self.paths.layer(old).exists() {
            change.forget(old)?;
        }
        change.commit()
    }
}

pub(super) fn link(heading: &Heading) -> Link {
    Link { uuid: heading.uuid, parent: parent_of(heading), size: heading.size }
}

/// Refuses to make a chain that could not be opened.
fn refuse_too_deep(vm: &Vm, chain: &Chain) -> Result<()> {
    if chain.frozen.len() < DEEPEST {
        return Ok(());
    }
    let what = format!("it stands on {DEEPEST} layers, and no disk may stand on more");
    Err(Failure::in_use(what).hint(format!("offshoot flatten {}", vm.record.name)).into())
}

/// Refuses to put another layer on a commit that has not ended: it could not be told any more what
/// is to be merged into what.
fn refuse_half_merged(vm: &Vm, chain: &Chain) -> Result<()> {
    let below = chain.frozen.iter().rev().nth(1).map(|layer| layer.heading.state);
    if let (State::Live | State::Absorbed(_), None | Some(State::Frozen | State::Absorbed(_))) =
        (chain.top.state, below)
    {
        return Ok(());
    }
    Err(Failure::in_use("a commit was begun and has not ended")
        .hint(format!("offshoot commit {}", vm.record.name))
        .into())
}
