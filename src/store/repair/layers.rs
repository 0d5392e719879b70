//! The part of a plan that is about frozen layers.

use std::collections::{BTreeMap, BTreeSet};

use blockdev::delta::{Heading, heading};
use uuid::Uuid;

use super::files::{Files, Frozen};
use super::plan::{Rows, differs};
use super::{Act, Remark, Step};
use crate::store::chain::parent_of;
use crate::store::inventory::LayerRow;
use crate::store::lineage::label;
use crate::store::{Vm, home, layer, vm};

/// Which layers there are, which are needed, and by whom.
pub(super) struct Layers<'a> {
    files: &'a Files,
    rows: BTreeMap<Uuid, &'a LayerRow>,
    /// The VMs that are in the inventory, or will be.
    vms: BTreeSet<String>,
    /// Layers that are another name of a VM's own delta: a snapshot broken off at its start.
    pending: BTreeSet<Uuid>,
    /// Layers without a row that must get one.
    needed: BTreeSet<Uuid>,
    /// What things that cannot be used say they stand on: not to be touched.
    guarded: BTreeSet<Uuid>,
    bases: BTreeSet<Uuid>,
    /// What somebody stands on, as the files or a row without files say.
    stood_on: BTreeSet<Uuid>,
}

impl<'a> Layers<'a> {
    /// Of what the files and rows hold; `usable` are the VMs to be in the inventory.
    pub fn new(files: &'a Files, rows: &'a Rows, usable: &[&(Vm, Heading)]) -> Layers<'a> {
        let of_rows = rows.images.iter().map(|row| row.base);
        let bases = files.images.iter().map(|image| image.base.uuid).chain(of_rows).collect();
        let kept = rows.vms.iter().map(|(row, _)| row.id.clone());
        let vms = usable.iter().map(|(vm, _)| vm.record.id()).chain(kept).collect();
        let mut layers = Layers {
            files,
            rows: rows.layers.iter().map(|row| (row.uuid, row)).collect(),
            vms,
            pending: files.vms.iter().map(|(_, top)| top.uuid).collect(),
            needed: BTreeSet::new(),
            guarded: BTreeSet::new(),
            bases,
            stood_on: stood_on(files, rows),
        };
        layers.find_needed(usable);
        layers.guarded = layers.below(strange_headings(files).iter().filter_map(parent_of));
        layers
    }

    fn find_needed(&mut self, usable: &[&(Vm, Heading)]) {
        let of_vms = usable.iter().filter_map(|(_, top)| parent_of(top));
        let named = self
            .files
            .layers
            .values()
            .filter(|found| found.record.name.is_some() && self.vms.contains(&found.record.vm));
        let named = named.map(|found| found.heading.uuid);
        let known = self.rows.keys().copied();
        self.needed = self.below(of_vms.chain(named).chain(known));
    }

    /// These layers and all they stand on, as far as there are files.
    fn below(&self, from: impl Iterator<Item = Uuid>) -> BTreeSet<Uuid> {
        let mut all = BTreeSet::new();
        for start in from {
            let mut next = Some(start);
            while let Some(found) = next.and_then(|uuid| self.layer(uuid)) {
                if !all.insert(found.heading.uuid) {
                    break;
                }
                next = parent_of(&found.heading);
            }
        }
        all
    }

    fn layer(&self, uuid: Uuid) -> Option<&'a Frozen> {
        self.files.layers.get(&uuid).filter(|_| !self.pending.contains(&uuid))
    }

    /// Whether the inventory has it, or will have: a row can name it as its parent.
    pub fn knows(&self, uuid: Uuid) -> bool {
        self.bases.contains(&uuid)
            || self.needed.contains(&uuid)
            || (self.rows.contains_key(&uuid) && !self.is_gone(uuid))
    }

    /// Whether something stands on a layer or a base.
    pub fn is_stood_on(&self, uuid: Uuid) -> bool {
        self.stood_on.contains(&uuid)
    }

    /// Layers to record, those below first, and those to set aside.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> =
            self.in_order().into_iter().filter_map(|l| self.put(l)).collect();
        steps.extend(self.unneeded().filter(|found| !self.has_strange_owner(found)).map(aside));
        steps
    }

    /// Layers of VMs that cannot be used: they may be all that is left of these.
    pub fn stuck(&self) -> Vec<Remark> {
        let of_strange = self.unneeded().filter(|found| self.has_strange_owner(found));
        let remark = |found: &Frozen| Remark {
            check: "layer",
            text: format!("{} belongs to a VM that cannot be used", found.dir.display()),
        };
        of_strange.map(remark).collect()
    }

    /// Rows of layers of which nothing is left, and that nobody stands on.
    pub fn gone(&self) -> Vec<Step> {
        let gone = self.rows.values().filter(|row| self.is_gone(row.uuid));
        let step = |row: &&LayerRow| {
            let label = label(row);
            Step {
                check: "layer",
                problem: format!("layer {label} is in the inventory, its files are gone"),
                deed: format!("layer {label} is in the inventory no more: it has no files"),
                act: Act::DropLayer(row.uuid),
            }
        };
        gone.map(step).collect()
    }

    fn is_gone(&self, uuid: Uuid) -> bool {
        let files = self.files.layers.contains_key(&uuid)
            || self.files.has_strange("layer", &uuid.to_string());
        !files && !self.is_stood_on(uuid)
    }

    /// The needed layers, each after the one it stands on.
    fn in_order(&self) -> Vec<&'a Frozen> {
        let mut ordered = Vec::new();
        let mut done = BTreeSet::new();
        for &uuid in &self.needed {
            let mut chain = Vec::new();
            let mut next = Some(uuid);
            while let Some(found) = next.and_then(|uuid| self.layer(uuid)) {
                if !done.insert(found.heading.uuid) {
                    break;
                }
                chain.push(found);
                next = parent_of(&found.heading);
            }
            ordered.extend(chain.into_iter().rev());
        }
        ordered
    }

    fn put(&self, found: &Frozen) -> Option<Step> {
        let row = self.rows.get(&found.heading.uuid);
        if row.is_some_and(|row| self.agrees(row, found)) {
            return None;
        }
        let name = found.record.name.as_ref().map_or("unnamed", |name| name.as_str());
        let dir = found.dir.display();
        let whose = format!("{name} of {} ({dir})", found.record.origin);
        let (problem, deed) = match row {
            None => (
                format!("layer {whose} is not in the inventory"),
                format!("layer {whose} is in the inventory again"),
            ),
            Some(_) => differs("layer", whose),
        };
        Some(Step { check: "layer", problem, deed, act: Act::PutLayer(found.clone()) })
    }

    fn agrees(&self, row: &LayerRow, found: &Frozen) -> bool {
        let vm = Some(&found.record.vm).filter(|vm| self.vms.contains(*vm));
        row.parent == parent_of(&found.heading).filter(|&parent| self.knows(parent))
            && row.size == found.heading.size
            && row.vm.as_ref() == vm
            && row.name == found.record.name
            && row.notes == found.record.notes
    }

    /// Layers that nobody needs as far as can be told, and that the inventory does not know.
    fn unneeded(&self) -> impl Iterator<Item = &'a Frozen> {
        self.files.layers.values().filter(|found| {
            let uuid = found.heading.uuid;
            !self.needed.contains(&uuid)
                && !self.pending.contains(&uuid)
                && !self.guarded.contains(&uuid)
        })
    }

    fn has_strange_owner(&self, found: &Frozen) -> bool {
        self.files.has_strange("vm", &found.record.vm)
    }
}

fn aside(found: &Frozen) -> Step {
    let dir = found.dir.display();
    Step {
        check: "layer",
        problem: format!("{dir} is not in the inventory, and no VM stands on it"),
        deed: format!("{dir} was not in the inventory, and no VM stands on it"),
        act: Act::SetAside(found.dir.clone()),
    }
}

/// What is stood on: by what the files hold, and by rows whose files are gone or of no use.
fn stood_on(files: &Files, rows: &Rows) -> BTreeSet<Uuid> {
    let of_vms = files.vms.iter().filter_map(|(_, top)| parent_of(top));
    let of_layers = files.layers.values().filter_map(|found| parent_of(&found.heading));
    let lost_vms = rows
        .vms
        .iter()
        .filter(|(row, _)| !files.vms.iter().any(|(vm, _)| vm.record.id() == row.id));
    let lost_layers = rows.layers.iter().filter(|row| !files.layers.contains_key(&row.uuid));
    of_vms
        .chain(of_layers)
        .chain(strange_headings(files).iter().filter_map(parent_of))
        .chain(lost_vms.filter_map(|(row, _)| row.parent))
        .chain(lost_layers.filter_map(|row| row.parent))
        .collect()
}

/// The headers of deltas that can be read of VMs and layers that cannot be used.
fn strange_headings(files: &Files) -> Vec<Heading> {
    let deltas = files.strange.iter().map(|found| match found.check {
        "vm" => found.path.join(vm::DELTA),
        _ => found.path.join(layer::DELTA),
    });
    deltas.filter_map(|entry| heading(&home::file(&entry)).ok()).collect()
}
