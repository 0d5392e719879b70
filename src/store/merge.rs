//! Removing a snapshot: what stands on it takes what it needs of it, and stands on what is below.
//!
//! ```text
//!   base ◄── s1 ◄── s2 ◄── web          base ◄── s2 ◄── web
//!            └ to go                             └ owns what it needed of s1
//! ```

use anyhow::Result;
use blockdev::copy::Watch;
use blockdev::{Pace, StackSpec, rebase_frozen};
use uuid::Uuid;

use super::Store;
use super::fault;
use super::layer::{Alone, Layer, Merging, RECORD, Record};
use super::lineage::Child;
use super::name::Name;
use super::paths::update;
use super::vm::Vm;
use super::writer::Writer;
use crate::failure::{self, Failure};

impl Store {
    /// Removes a snapshot. The one VM or snapshot that stands on it, if one does, is given what it
    /// needs of it. Whether the layer is gone is returned: while somebody has it open, it stays,
    /// for [`prune`](Store::prune).
    ///
    /// # Errors
    /// There is no such snapshot; several stand on it: they are named; the one that does is in
    /// use; there is no room; or `watch` broke it off. Every disk reads as it did.
    pub fn remove_snapshot(
        &mut self,
        vm: &Vm,
        name: &Name,
        writer: impl Fn(&Vm) -> Result<Writer>,
        watch: Watch<'_>,
    ) -> Result<bool> {
        let _merging = Merging::enter(&self.paths, watch)?;
        if let Ok(writer) = writer(vm) {
            self.settled(vm, &writer)?;
        }
        let row = self.snapshot(vm, name)?;
        // What a commit that ended without whoever began it has merged, needs nothing of it.
        let lineage = self.lineage()?.needed();
        match lineage.children(row.uuid) {
            [] => {}
            [child] => self.lift(row.uuid, child, writer, watch)?,
            several => {
                let list: Vec<_> = several.iter().map(|child| lineage.label_of(child)).collect();
                let what = format!("several stand on it: {}", failure::few(&list));
                let hint = "remove or flatten all of them but one";
                return Err(Failure::in_use(what).hint(hint).into());
            }
        }
        fault::point("lifted");
        let alone = Alone::enter(&self.paths)?;
        self.take_name(row.uuid)?;
        let removed = self.collect(&alone)?;
        self.tell_of(vm, "snapshot-removed", |it| it.with("snapshot", name));
        Ok(removed.contains(&row.uuid))
    }

    /// Has `child`, which stands on `layer`, stand on what that stands on.
    fn lift(
        &mut self,
        layer: Uuid,
        child: &Child,
        writer: impl Fn(&Vm) -> Result<Writer>,
        watch: Watch<'_>,
    ) -> Result<()> {
        let layer = self.layer(layer)?;
        // What stands on it cannot be read while something is half merged into it.
        layer.as_parent()?;
        let below = self.below(&layer)?;
        match child {
            Child::Layer(uuid) => {
                let child = self.layer(*uuid)?;
                let spec = self.below(&child)?;
                let spec = StackSpec { delta: Some(child.delta()), ..spec };
                rebase_frozen(&spec, &below, Pace::Beside, watch)?;
                fault::point("layer-lifted");
                let _alone = Alone::enter(&self.paths)?;
                self.index_layer(*uuid)
            }
            Child::Vm(name) => {
                let vm = self.vm(name)?;
                let writer = writer(&vm)?;
                self.settled(&vm, &writer)?;
                self.stand(&vm, &writer, &below, watch)?;
                let _alone = Alone::enter(&self.paths)?;
                self.index(&vm)
            }
        }
    }

    /// What a frozen layer stands on, as a disk that is only read.
    pub(super) fn below(&self, layer: &Layer) -> Result<StackSpec> {
        Ok(self.chain_below(layer.heading.clone())?.below())
    }

    /// Takes a snapshot's name away: nobody can ask for it any more.
    pub(super) fn take_name(&mut self, uuid: Uuid) -> Result<()> {
        let layer = self.layer(uuid);
        // Whoever renames its VM writes the record, too, while nobody else can write the inventory.
        let change = self.inventory.change()?;
        if let Ok(layer) = &layer {
            update(&layer.dir.join(RECORD), &Record { name: None, ..layer.record()? })?;
        }
        change.take_name(uuid)?;
        change.commit()
    }

    /// Brings the inventory to what a frozen layer's header says.
    fn index_layer(&mut self, uuid: Uuid) -> Result<()> {
        let heading = self.layer(uuid)?.heading;
        let change = self.inventory.change()?;
        change.link(super::freeze::link(&heading))?;
        change.commit()?;
        self.inventory.sync()
    }
}
