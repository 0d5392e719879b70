//! What must be done to an inventory so that it says what the files say. Pure: it reads neither.
//!
//! A row is never taken away while something of what it stands for is left, or while others may
//! need it: what cannot be decided stays as it is, and `doctor` goes on to say so.

use std::collections::BTreeSet;
use std::fmt::Display;

use blockdev::delta::Heading;
use uuid::Uuid;

use super::files::Files;
use super::layers::Layers;
use super::names::Names;
use super::{Act, Remark, Step};
use crate::store::chain::parent_of;
use crate::store::inventory::{ImageRow, LayerRow, VmRow};
use crate::store::{Name, Vm, image};

/// What the inventory says.
#[derive(Default)]
pub(super) struct Rows {
    pub images: Vec<ImageRow>,
    pub layers: Vec<LayerRow>,
    /// Each with the uuid of its delta.
    pub vms: Vec<(VmRow, Uuid)>,
}

/// What is to be done, in order, and what cannot be.
#[derive(Default)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub stuck: Vec<Remark>,
}

/// Compares files and rows.
pub(super) fn plan(files: &Files, rows: &Rows) -> Plan {
    let mut planner = Planner { files, rows, plan: Plan::default(), names: Names::default() };
    planner.keep_names();
    planner.images();
    let vms = planner.usable_vms();
    let layers = Layers::new(files, rows, &vms);
    planner.plan.steps.extend(layers.steps());
    planner.plan.stuck.extend(layers.stuck());
    planner.vms(&vms, &layers);
    planner.gone(&layers);
    planner.strangers();
    planner.plan
}

struct Planner<'a> {
    files: &'a Files,
    rows: &'a Rows,
    plan: Plan,
    names: Names,
}

impl<'a> Planner<'a> {
    fn step(&mut self, check: &'static str, problem: String, deed: String, act: Act) {
        self.plan.steps.push(Step { check, problem, deed, act });
    }

    /// Who has its name in both files and inventory keeps it; so does who is known by its row only.
    fn keep_names(&mut self) {
        for row in &self.rows.images {
            let record = self.files.images.iter().find(|record| record.digest == row.digest);
            if record.is_none_or(|record| record.name == row.name) {
                self.names.take(&row.name);
            }
        }
        for (row, _) in &self.rows.vms {
            let vm = self.files.vms.iter().find(|(vm, _)| vm.record.id() == row.id);
            if vm.is_none_or(|(vm, _)| vm.record.name == row.name) {
                self.names.take(&row.name);
            }
        }
    }

    fn images(&mut self) {
        let mut records: Vec<&image::Record> = self.files.images.iter().collect();
        records.sort_by_key(|record| record.created);
        for record in records {
            match self.image_row(&record.digest) {
                Some(row) if agrees(row, record) => {}
                Some(row) if row.name == record.name => {
                    let (problem, deed) = differs("image", &row.name);
                    let act = Act::PutImage(record.clone(), row.name.clone());
                    self.step("image", problem, deed, act);
                }
                Some(row) => {
                    let (old, new) = (row.name.clone(), self.names.free(&record.name));
                    let problem = format!("image {new} is called {old} in the inventory");
                    let deed = format!("image {new} was called {old} in the inventory");
                    self.step("image", problem, deed, Act::PutImage(record.clone(), new));
                }
                None => {
                    let name = self.names.free(&record.name);
                    let problem = format!("image {name} is whole, but not in the inventory");
                    let deed = format!("image {name} is in the inventory again");
                    let (problem, deed) = renamed(problem, deed, &record.name, &name);
                    self.step("image", problem, deed, Act::PutImage(record.clone(), name));
                }
            }
        }
    }

    fn image_row(&self, digest: &str) -> Option<&'a ImageRow> {
        self.rows.images.iter().find(|row| row.digest == digest)
    }

    /// VMs that the inventory can hold: their image is there, and their delta is theirs alone.
    fn usable_vms(&mut self) -> Vec<&'a (Vm, Heading)> {
        let mut found: Vec<_> = self.files.vms.iter().collect();
        // The one the inventory knows first, then the older.
        found.sort_by_key(|(vm, _)| (self.vm_row(vm).is_none(), vm.record.created));
        let mut tops = BTreeSet::new();
        let mut usable = Vec::new();
        for (vm, top) in found {
            let why = match () {
                () if !self.has_image(vm.record.image.as_deref()) => {
                    "the image it stands on is missing"
                }
                () if !tops.insert(top.uuid) => "another VM has the very same delta",
                () => {
                    usable.push(&self.files.vms[self.index_of(vm)]);
                    continue;
                }
            };
            let text = format!("{} ({}): {why}", vm.record.name, vm.dir.display());
            self.plan.stuck.push(Remark { check: "vm", text });
        }
        usable
    }

    fn index_of(&self, vm: &Vm) -> usize {
        self.files.vms.iter().position(|(found, _)| found.dir == vm.dir).unwrap_or(0)
    }

    /// Whether there is this image, if one is needed.
    fn has_image(&self, digest: Option<&str>) -> bool {
        let Some(digest) = digest else { return true };
        let row = self.image_row(digest).is_some();
        row || self.files.images.iter().any(|record| record.digest == digest)
    }

    fn vm_row(&self, vm: &Vm) -> Option<&'a (VmRow, Uuid)> {
        let id = vm.record.id();
        self.rows.vms.iter().find(|(row, _)| row.id == id)
    }

    fn vms(&mut self, vms: &[&(Vm, Heading)], layers: &Layers<'_>) {
        let mut vms = vms.to_vec();
        vms.sort_by_key(|(vm, _)| vm.record.created);
        for (vm, top) in vms {
            let wanted = &vm.record.name;
            let row = self.vm_row(vm);
            if row.is_some_and(|row| self.agrees(row, vm, top, layers)) {
                continue;
            }
            let kept = row.is_some_and(|(row, _)| row.name == *wanted);
            let name = if kept { wanted.clone() } else { self.names.free(wanted) };
            let dir = vm.dir.display();
            let (problem, deed) = match row {
                None => (
                    format!("VM {name} ({dir}) is whole, but not in the inventory"),
                    format!("VM {name} ({dir}) is in the inventory again"),
                ),
                Some(_) => differs("VM", &name),
            };
            let (problem, deed) = renamed(problem, deed, wanted, &name);
            let mut vm = vm.clone();
            vm.record.name = name;
            let known = row.is_some();
            self.step("vm", problem, deed, Act::PutVm { vm, top: top.clone(), known });
        }
    }

    /// Whether a row says what the files say.
    fn agrees(&self, row: &(VmRow, Uuid), vm: &Vm, top: &Heading, layers: &Layers<'_>) -> bool {
        let (row, uuid) = row;
        let record = &vm.record;
        let image = record.image.as_ref().map(|digest| self.image_row(digest));
        let image = image.map(|row| row.map(|row| &row.name));
        row.name == record.name
            && row.image.as_ref().map(Some) == image
            && row.cpus == record.cpus
            && row.memory_mib == record.memory_mib
            && row.notes == record.notes
            && row.created.millis() == record.created.millis()
            && row.labels == record.labels
            && row.protected == record.protected
            && *uuid == top.uuid
            && row.parent == parent_of(top).filter(|&parent| layers.knows(parent))
    }

    /// Rows of which nothing is left, and that nobody needs.
    fn gone(&mut self, layers: &Layers<'_>) {
        for (row, _) in &self.rows.vms {
            let files = self.files.vms.iter().any(|(vm, _)| vm.record.id() == row.id);
            let owner = self.rows.layers.iter().any(|layer| layer.vm.as_ref() == Some(&row.id));
            let on_layer = self.rows.layers.iter().any(|layer| row.parent == Some(layer.uuid));
            if !files && !owner && !on_layer && !self.files.has_strange("vm", &row.id) {
                let problem = format!("VM {} is in the inventory, its files are gone", row.name);
                let deed = format!("VM {} is in the inventory no more: it has no files", row.name);
                self.step("vm", problem, deed, Act::DropVm(row.id.clone()));
            }
        }
        self.plan.steps.extend(layers.gone());
        for row in &self.rows.images {
            let files = self.files.images.iter().any(|record| record.digest == row.digest);
            let needed = row.clones > 0
                || self
                    .files
                    .vms
                    .iter()
                    .any(|(vm, _)| vm.record.image.as_ref() == Some(&row.digest))
                || layers.is_stood_on(row.base);
            if !files && !needed && !self.files.has_strange("image", &row.digest) {
                let name = &row.name;
                let problem = format!("image {name} is in the inventory, its files are gone");
                let deed = format!("image {name} is in the inventory no more: it has no files");
                self.step("image", problem, deed, Act::DropImage(row.name.clone()));
            }
        }
    }

    /// What is no image, VM or layer, and in no row either: of those that are, others tell.
    fn strangers(&mut self) {
        let known = |check: &str, name: &str| match check {
            "image" => self.rows.images.iter().any(|row| row.digest == name),
            "vm" => self.rows.vms.iter().any(|(row, _)| row.id == name),
            _ => self.rows.layers.iter().any(|row| row.uuid.to_string() == name),
        };
        for found in self.files.strange.iter().filter(|found| !known(found.check, &found.name)) {
            let why = crate::failure::text(&found.error);
            let text = format!("{} is of no use as it is: {why}", found.path.display());
            self.plan.stuck.push(Remark { check: found.check, text });
        }
    }
}

/// Whether an image's row says what its record says.
fn agrees(row: &ImageRow, record: &image::Record) -> bool {
    row.name == record.name && row.notes == record.notes && row.protected == record.protected
}

/// What is the matter where files and inventory tell two stories, and what becomes of it.
pub(super) fn differs(what: &str, name: impl Display) -> (String, String) {
    (
        format!("{what} {name}: the inventory says something else than its files"),
        format!("{what} {name}: the inventory says again what its files say"),
    )
}

/// Adds that a name was another's.
fn renamed(problem: String, deed: String, own: &Name, given: &Name) -> (String, String) {
    if own == given {
        return (problem, deed);
    }
    let why = format!("; its name {own} is taken");
    (problem + &why, deed + &why)
}
