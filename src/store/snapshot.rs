//! Snapshots: frozen layers of a VM that people named, and going back to them.

use anyhow::Result;
use blockdev::delta::{self, Parent};
use uuid::Uuid;

use super::Store;
use super::fault;
use super::freeze::Mark;
use super::inventory::LayerRow;
use super::layer::Alone;
use super::name::Name;
use super::vm::Vm;
use super::writer::{Pause, Writer};
use crate::failure::Failure;

/// A snapshot that was taken.
#[derive(Debug)]
pub struct Taken {
    /// What it is called.
    pub name: Name,
    /// Its layer.
    pub uuid: Uuid,
    /// How long the guest's writes waited.
    pub pause: Pause,
}

/// What becomes of what a VM wrote since its last snapshot when it goes back to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// There must be nothing.
    Refuse,
    /// It is lost.
    Discard,
    /// It becomes a snapshot of this name first.
    Keep(Name),
}

impl Store {
    /// Freezes what a VM has written under a name: the one given, or the next of `s1`, `s2`, ...
    ///
    /// # Errors
    /// The name is taken, or the disk cannot be frozen.
    pub fn take_snapshot(
        &mut self,
        vm: &Vm,
        writer: &Writer,
        name: Option<Name>,
        notes: String,
    ) -> Result<Taken> {
        let alone = Alone::enter(&self.paths)?;
        self.settle(&alone, vm, writer)?;
        self.take(&alone, vm, writer, name, notes)
    }

    fn take(
        &mut self,
        alone: &Alone,
        vm: &Vm,
        writer: &Writer,
        name: Option<Name>,
        notes: String,
    ) -> Result<Taken> {
        let name = match name {
            Some(name) => self.free_name(vm, name)?,
            None => self.next_name(vm)?,
        };
        let mark = Mark { name: Some(name.clone()), notes };
        let (uuid, pause) = self.freeze(alone, vm, writer, mark)?;
        self.tell_of(vm, "snapshot-created", |it| it.with("snapshot", &name).with("uuid", uuid));
        Ok(Taken { name, uuid, pause })
    }

    fn free_name(&self, vm: &Vm, name: Name) -> Result<Name> {
        match self.inventory.snapshot(&vm.record.id(), &name)? {
            None => Ok(name),
            Some(_) => Err(Failure::in_use(format!("it has a snapshot {name} already"))
                .hint(format!("another name; offshoot snapshot ls {}", vm.record.name))
                .into()),
        }
    }

    fn next_name(&self, vm: &Vm) -> Result<Name> {
        let snapshots = self.snapshots(vm)?;
        let number = |row: &LayerRow| row.name.as_ref()?.as_str().strip_prefix('s')?.parse().ok();
        let last: u64 = snapshots.iter().filter_map(number).max().unwrap_or(0);
        Ok(format!("s{}", last.saturating_add(1)).parse()?)
    }

    /// The frozen layers of a VM, the oldest first; those nobody named, too.
    ///
    /// # Errors
    /// The inventory cannot be read.
    pub fn snapshots(&self, vm: &Vm) -> Result<Vec<LayerRow>> {
        let id = vm.record.id();
        let mut layers = self.inventory.layers()?;
        layers.retain(|layer| layer.vm.as_ref() == Some(&id));
        Ok(layers)
    }

    /// A snapshot by its name.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn snapshot(&self, vm: &Vm, name: &Name) -> Result<LayerRow> {
        let found = self.inventory.snapshot(&vm.record.id(), name)?;
        Ok(found.ok_or_else(|| {
            Failure::not_found(format!("{} has no snapshot {name}", vm.record.name))
                .hint(format!("offshoot snapshot ls {}", vm.record.name))
        })?)
    }

    /// Takes a stopped VM back to one of its snapshots, whose disk it has then. What was kept is
    /// returned.
    ///
    /// # Errors
    /// There is no such snapshot, what would be lost may not be, the VM is protected, or there is
    /// no room.
    pub fn revert(
        &mut self,
        vm: &Vm,
        writer: &Writer,
        to: &Name,
        since: Since,
    ) -> Result<Option<Taken>> {
        let alone = Alone::enter(&self.paths)?;
        self.refuse_protected(&vm.record.name)?;
        self.settle(&alone, vm, writer)?;
        let layer = self.layer(self.snapshot(vm, to)?.uuid)?;
        layer.as_parent()?;
        let written = self.unsaved_blocks(vm)?;
        let kept = match since {
            Since::Refuse if written > 0 => {
                let what = format!("{} written since its last snapshot would be lost", {
                    crate::output::human::bytes(written.saturating_mul(4096))
                });
                return Err(Failure::in_use(what).hint("--keep SNAPSHOT, or --force").into());
            }
            Since::Refuse | Since::Discard => None,
            Since::Keep(name) => Some(self.take(&alone, vm, writer, Some(name), String::new())?),
        };
        self.stand_on(&alone, vm, &layer.as_parent()?, layer.heading.size)?;
        self.tell_of(vm, "reverted", |it| it.with("snapshot", to));
        Ok(kept)
    }

    /// Blocks a VM wrote since its last snapshot; a block it wrote again after it was cloned counts
    /// twice.
    fn unsaved_blocks(&self, vm: &Vm) -> Result<u64> {
        let mut blocks = delta::inspect(&vm.delta())?.owned_blocks;
        for layer in self.chain(vm)?.frozen.iter().rev() {
            let record = layer.record()?;
            // What has a name stays, whoever gave it.
            if record.name.is_some() || !record.is_unsaved(&vm.record.id()) {
                break;
            }
            blocks += delta::inspect(&layer.delta())?.owned_blocks;
        }
        Ok(blocks)
    }

    /// Gives a stopped VM an empty delta on another layer, and takes away what nobody needs then.
    pub(super) fn stand_on(
        &mut self,
        alone: &Alone,
        vm: &Vm,
        parent: &Parent,
        size: u64,
    ) -> Result<()> {
        let image = self.image_under(parent)?;
        self.renew(vm, parent, size)?;
        fault::point("stands-elsewhere");
        let vm = &self.follow_image(vm, image.as_ref())?;
        self.index(vm)?;
        self.set_disk_size(vm, size)?;
        self.collect(alone).map(drop)
    }
}
