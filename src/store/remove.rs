//! Taking frozen layers away that nobody needs.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};
use blockdev::delta::heading;
use uuid::Uuid;

use super::Store;
use super::draft::{Busy, Trash};
use super::fault;
use super::inventory::LayerRow;
use super::layer::{self, Alone};
use super::paths::sync_dir;
use super::vm;
use crate::failure::{Code, Failure};

impl Store {
    /// Removes those of these layers, and of the layers below them, that nobody needs any more.
    ///
    /// # Errors
    /// The filesystem or the inventory refuses; the rest stays.
    pub(super) fn collect(&mut self, alone: &Alone, among: &BTreeSet<Uuid>) -> Result<()> {
        let garbage = self.lineage()?.garbage(|layer| among.contains(&layer.uuid));
        garbage.into_iter().try_for_each(|uuid| self.remove_layer(alone, uuid))
    }

    /// Frozen layers nobody needs: those on top first.
    ///
    /// # Errors
    /// The inventory cannot be read.
    pub fn garbage(&self) -> Result<Vec<LayerRow>> {
        let lineage = self.lineage()?;
        let rows = |uuids: Vec<Uuid>, layers: Vec<LayerRow>| {
            layers.into_iter().filter(|row| uuids.contains(&row.uuid)).collect()
        };
        Ok(rows(lineage.garbage(|_| true), self.inventory.layers()?))
    }

    /// Removes all frozen layers nobody needs, and returns them.
    ///
    /// # Errors
    /// The filesystem or the inventory refuses; the rest stays.
    pub fn prune(&mut self) -> Result<Vec<LayerRow>> {
        let alone = Alone::enter(&self.paths)?;
        let garbage = self.garbage()?;
        self.collect(&alone, &garbage.iter().map(|row| row.uuid).collect())?;
        Ok(garbage)
    }

    /// Removes a frozen layer that nothing stands on.
    ///
    /// # Errors
    /// Something does, as the inventory or the files say; or the filesystem refuses.
    pub(super) fn remove_layer(&mut self, _: &Alone, uuid: Uuid) -> Result<()> {
        self.refuse_children(uuid)?;
        let _busy = Busy::enter(&self.paths)?;
        let change = self.inventory.change()?;
        change.forget(uuid).with_context(|| format!("others stand on layer {uuid}"))?;
        let trash = Trash::take(&self.paths, self.paths.layer(uuid))?;
        sync_dir(&self.paths.layers())?;
        fault::point("layer-removed");
        match (change.commit(), trash) {
            (Ok(()), Some(trash)) => trash.empty(),
            (Err(error), Some(trash)) => {
                trash.restore();
                Err(error)
            }
            (result, None) => result,
        }
    }

    /// That no delta in the store stands on a layer, whatever the inventory says of it: what is
    /// deleted cannot be brought back.
    fn refuse_children(&self, uuid: Uuid) -> Result<()> {
        let dirs = [(self.paths.vms(), vm::DELTA), (self.paths.layers(), layer::DELTA)];
        for (dir, delta) in dirs {
            let read = || fs::read_dir(&dir)?.collect::<std::io::Result<Vec<_>>>();
            let entries = read().with_context(|| format!("cannot read {}", dir.display()))?;
            for path in entries.into_iter().map(|entry| entry.path().join(delta)) {
                if heading(&path).is_ok_and(|found| found.parent.uuid == uuid) {
                    let what = format!("{} stands on layer {uuid}", path.display());
                    return Err(Failure::new(Code::InUse, what).hint("offshoot doctor").into());
                }
            }
        }
        Ok(())
    }
}
