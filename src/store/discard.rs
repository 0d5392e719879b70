//! Removing VMs: one, or an image or a VM with all that stands on it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use uuid::Uuid;

use super::Store;
use super::draft::{Busy, Trash};
use super::edit;
use super::events::{self, Event};
use super::fault;
use super::home::{self, Home};
use super::inventory::Place;
use super::layer::Alone;
use super::lineage::{Child, Lineage};
use super::lock::Lock;
use super::name::Name;
use super::paths::sync_dir;
use super::remove::Away;
use super::reserve::Reserve;
use super::sockets;
use super::writer::Writer;
use crate::failure::Failure;

/// All that goes when images and VMs go with everything that stands on them. The keys are stable.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cascade {
    /// Images.
    pub images: BTreeSet<Name>,
    /// VMs, each with the snapshots only it needs.
    pub vms: BTreeSet<Name>,
    /// Snapshots of VMs that stay.
    pub snapshots: Vec<Snapshot>,
}

/// A snapshot that goes while its VM stays.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// What people call it.
    pub label: String,
    /// Its layer.
    pub uuid: Uuid,
    /// Whose it is.
    pub vm: Name,
}

/// A VM nobody else can start or remove.
struct Held {
    name: Name,
    id: String,
    dir: PathBuf,
    _writer: Option<Writer>,
}

impl Store {
    /// Removes a VM that does not run, with everything it owns: its snapshots, too, but for those
    /// that others stand on, which go with the last of these. Works on one whose files are
    /// damaged or gone, too.
    ///
    /// # Errors
    /// There is none of this name, it runs, it is protected, or its delta is away and is not to be
    /// forgotten.
    pub fn remove_vm(&mut self, name: &Name, away: Away) -> Result<()> {
        self.remove_vms(std::slice::from_ref(name), away)?.into_iter().collect()
    }

    /// As [`remove_vm`](Store::remove_vm), of many in one step; what came of each, in their order.
    ///
    /// # Errors
    /// The store as a whole refuses: none is removed, or all are and not all of their snapshots.
    pub fn remove_vms(&mut self, names: &[Name], away: Away) -> Result<Vec<Result<()>>> {
        let alone = Alone::enter(&self.paths)?;
        let _reserve = Reserve::give_up(&self.paths);
        let (mut held, mut results) = (Vec::new(), Vec::new());
        for name in names {
            let vm = self.hold(&alone, name, away);
            results.push(vm.map(|vm| held.push(vm)));
        }
        if !held.is_empty() {
            self.remove_held(&held)?;
            let collected = self.collect_and(&alone, away);
            collected.context("the VMs are gone, but not all of their snapshots")?;
        }
        Ok(results)
    }

    /// Everything that stands on these images and VMs, and they themselves.
    ///
    /// # Errors
    /// There is none of one of the names.
    pub fn cascade(&self, names: &[Name]) -> Result<Cascade> {
        let (mut all, mut below) = (Cascade::default(), Vec::new());
        for name in names {
            match self.inventory.find(name)? {
                Place::Image(digest) => {
                    below.push(self.inventory.base(&digest)?);
                    all.images.insert(name.clone());
                }
                Place::Vm(id) => {
                    let layers = self.inventory.layers()?.into_iter();
                    let own = layers.filter(|layer| layer.vm.as_ref() == Some(&id));
                    below.extend(own.map(|layer| layer.uuid));
                    all.vms.insert(name.clone());
                }
            }
        }
        // Those that boot an image's kernel need it without standing on its base.
        let rows = self.inventory.vms()?;
        let booting =
            rows.iter().filter(|row| row.image.iter().any(|name| all.images.contains(name)));
        all.vms.extend(booting.map(|row| row.name.clone()));
        let lineage = self.lineage()?;
        let layers = descend(&lineage, below, &mut all.vms);
        all.snapshots = layers
            .into_iter()
            .filter_map(|uuid| {
                let row = lineage.layer(uuid).filter(|row| row.name.is_some())?;
                let owner = rows.iter().find(|vm| row.vm.as_ref() == Some(&vm.id))?;
                let vm = owner.name.clone();
                Some(Snapshot { label: lineage.label(uuid), uuid, vm })
            })
            .filter(|snapshot| !all.vms.contains(&snapshot.vm))
            .collect();
        Ok(all)
    }

    /// Removes what `agreed`, the answer of [`cascade`](Store::cascade) to `names`, lists.
    ///
    /// # Errors
    /// Something else stands there by now, or one of them runs, is protected, or is away and not to
    /// be forgotten: nothing is removed then. Or the filesystem or the inventory refuses: what is
    /// left is whole.
    pub fn remove_cascade(&mut self, names: &[Name], agreed: &Cascade, away: Away) -> Result<()> {
        let alone = Alone::enter(&self.paths)?;
        let _reserve = Reserve::give_up(&self.paths);
        let kept = agreed.snapshots.iter().map(|snapshot| &snapshot.vm);
        for name in agreed.images.iter().chain(&agreed.vms).chain(kept) {
            self.refuse_protected(name).with_context(|| name.to_string())?;
        }
        let hold = |name: &Name| self.hold(&alone, name, away).context(name.clone());
        let held = agreed.vms.iter().map(hold);
        let held = held.collect::<Result<Vec<_>>>()?;
        if self.cascade(names)? != *agreed {
            let what = "what stands on it has changed meanwhile";
            return Err(Failure::in_use(what).hint("the same again").into());
        }
        self.remove_held(&held)?;
        for snapshot in &agreed.snapshots {
            self.take_name(snapshot.uuid).with_context(|| snapshot.label.clone())?;
        }
        let collected = self.collect_and(&alone, away);
        collected.context("its VMs are gone, but not all of their snapshots")?;
        for image in &agreed.images {
            self.remove_image_alone(&alone, image).with_context(|| image.to_string())?;
        }
        Ok(())
    }

    /// Keeps everybody else from a VM that is to go.
    fn hold(&mut self, alone: &Alone, name: &Name, away: Away) -> Result<Held> {
        let id = self.vm_id(name)?;
        self.refuse_protected(name)?;
        let dir = self.paths.vm(&id);
        if away == Away::Keep {
            let present = Home::of(&home::entry(&dir)).refuse_away();
            present.map_err(|error| error.or_hint(format!("offshoot rm --forget {name}")))?;
        }
        let writer = dir.exists().then(|| Lock::take(&dir)).transpose()?.map(Writer::Nobody);
        if let (Ok(vm), Some(writer)) = (self.vm(name), &writer) {
            // So that its layers are known. One that is damaged goes all the same.
            let settled = self.settle(alone, &vm, writer);
            settled.unwrap_or_else(|error| log::debug!("{name}: {}", crate::failure::text(&error)));
        }
        Ok(Held { name: name.clone(), id, dir, _writer: writer })
    }

    /// Removes VMs in one step: all of them, or none.
    fn remove_held(&mut self, all: &[Held]) -> Result<()> {
        if all.is_empty() {
            return Ok(());
        }
        let _busy = Busy::enter(&self.paths)?;
        let change = self.inventory.change()?;
        for Held { name, id, .. } in all {
            let place = Place::Vm(id.clone());
            let may_go = edit::refuse_protected(&change, &self.paths, &place, name);
            may_go.and_then(|()| change.delete_vm(id)).with_context(|| name.to_string())?;
        }
        for vm in all {
            let sockets = sockets::clear(&vm.dir);
            sockets.unwrap_or_else(|error| log::warn!("{}", crate::failure::text(&error)));
        }
        let trash = Trash::take(&self.paths, all.iter().map(|vm| vm.dir.clone()))?;
        sync_dir(&self.paths.vms())?;
        fault::point("vm-taken");
        change.commit()?;
        trash.empty()?;
        let removed = |vm: &Held| Event::of_vm("removed", vm.name.as_str(), &vm.id);
        events::tell(self.paths.root(), all.iter().map(removed));
        Ok(())
    }
}

/// The frozen layers that are `next` or stand on them; the VMs that do are added to `vms`.
fn descend(lineage: &Lineage, mut next: Vec<Uuid>, vms: &mut BTreeSet<Name>) -> BTreeSet<Uuid> {
    let mut layers = BTreeSet::new();
    while let Some(uuid) = next.pop() {
        if !layers.insert(uuid) {
            continue;
        }
        for child in lineage.children(uuid) {
            match child {
                Child::Layer(layer) => next.push(*layer),
                Child::Vm(name) => drop(vms.insert(name.clone())),
            }
        }
    }
    layers
}
