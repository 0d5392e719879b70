//! Which layers and VMs stand on which, as one picture of the whole store.

use std::collections::BTreeMap;

use anyhow::Result;
use uuid::Uuid;

use super::Store;
use super::inventory::{LayerRow, VmRow};
use super::name::Name;

/// Everything that stands on something.
#[derive(Debug, Default)]
pub struct Lineage {
    bases: BTreeMap<Uuid, Name>,
    layers: BTreeMap<Uuid, LayerRow>,
    children: BTreeMap<Uuid, Vec<Child>>,
}

/// What stands on a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Child {
    /// A frozen layer.
    Layer(Uuid),
    /// A VM, with its own delta.
    Vm(Name),
}

impl Store {
    /// The picture at this moment.
    ///
    /// # Errors
    /// The inventory cannot be read.
    pub fn lineage(&self) -> Result<Lineage> {
        self.lineage_of(&self.inventory.vms()?)
    }

    /// The picture with these VMs, all there are, in it.
    ///
    /// # Errors
    /// The inventory cannot be read.
    pub fn lineage_of(&self, vms: &[VmRow]) -> Result<Lineage> {
        let mut lineage = Lineage::default();
        for image in self.inventory.images()? {
            lineage.bases.insert(image.base, image.name);
        }
        for layer in self.inventory.layers()? {
            lineage.add(layer.parent, Child::Layer(layer.uuid));
            lineage.layers.insert(layer.uuid, layer);
        }
        for vm in vms {
            lineage.add(vm.parent, Child::Vm(vm.name.clone()));
        }
        Ok(lineage)
    }
}

impl Lineage {
    fn add(&mut self, parent: Option<Uuid>, child: Child) {
        if let Some(parent) = parent {
            self.children.entry(parent).or_default().push(child);
        }
    }

    /// The frozen layers that need nothing below them.
    pub fn roots(&self) -> impl Iterator<Item = &LayerRow> {
        self.layers.values().filter(|layer| layer.parent.is_none())
    }

    /// What stands directly on a layer.
    pub fn children(&self, layer: Uuid) -> &[Child] {
        self.children.get(&layer).map_or(&[], Vec::as_slice)
    }

    /// A frozen layer.
    pub fn layer(&self, uuid: Uuid) -> Option<&LayerRow> {
        self.layers.get(&uuid)
    }

    /// What people call a base or a layer: `debian`, `web@before`, or `web@` and the start of a
    /// uuid where nobody named it.
    pub fn label(&self, uuid: Uuid) -> String {
        match (self.bases.get(&uuid), self.layers.get(&uuid)) {
            (Some(image), _) => image.to_string(),
            (None, Some(layer)) => label(layer),
            (None, None) => uuid.to_string(),
        }
    }

    /// What people call what stands on a layer.
    pub fn label_of(&self, child: &Child) -> String {
        match child {
            Child::Layer(uuid) => self.label(*uuid),
            Child::Vm(name) => name.to_string(),
        }
    }

    /// What people call everything that stands directly on a layer.
    pub fn dependents(&self, layer: Uuid) -> Vec<String> {
        self.children(layer).iter().map(|child| self.label_of(child)).collect()
    }

    /// Whether nobody needs a frozen layer: nothing stands on it, and no VM has it as a snapshot.
    pub fn is_garbage(&self, layer: &LayerRow) -> bool {
        let kept = layer.vm.is_some() && layer.name.is_some();
        !kept && self.children(layer.uuid).is_empty()
    }

    /// Takes a frozen layer with nothing on it out of the picture.
    pub fn remove(&mut self, layer: Uuid) {
        let Some(row) = self.layers.remove(&layer) else { return };
        if let Some(siblings) = row.parent.and_then(|parent| self.children.get_mut(&parent)) {
            siblings.retain(|child| *child != Child::Layer(layer));
        }
    }

    /// Layers nobody needs, those on top first: when one is gone, the one below may be the next.
    pub fn garbage(mut self) -> Vec<Uuid> {
        self.clear()
    }

    /// The picture without layers nobody needs.
    pub fn needed(mut self) -> Lineage {
        self.clear();
        self
    }

    /// Takes all layers nobody needs out of the picture, those on top first.
    fn clear(&mut self) -> Vec<Uuid> {
        let mut all = Vec::new();
        loop {
            let next = self.layers.values().filter(|row| self.is_garbage(row));
            let next: Vec<Uuid> = next.map(|row| row.uuid).collect();
            if next.is_empty() {
                return all;
            }
            next.iter().for_each(|&uuid| self.remove(uuid));
            all.extend(next);
        }
    }
}

/// What people call a frozen layer.
pub fn label(layer: &LayerRow) -> String {
    let uuid = layer.uuid.simple().to_string();
    let name = layer.name.as_ref().map_or(&uuid[..8], Name::as_str);
    format!("{}@{name}", layer.origin)
}
