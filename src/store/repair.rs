//! Bringing a store back in order after kills, power cuts and hands that meddled: `doctor --fix`.
//!
//! ```text
//!   tmp/      what nobody works on goes; what the inventory still has goes back to its place
//!   files     compared with the rows, under the locks of those who change either
//!   rows      made what the files say; nothing that is left of anything is deleted for it
//!   chains    snapshots that were broken off are completed or taken back
//! ```
//! What nobody seems to need any more, but could hold somebody's work, is moved to `lost/`.

mod aside;
mod debris;
mod files;
mod inventory;
mod layers;
mod names;
mod plan;
mod tmp;

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use blockdev::delta::{Heading, State};
use uuid::Uuid;

use super::edit::Description;
use super::events::{self, Event};
use super::freeze::link;
use super::inventory::{Change, NewVm, Place};
use super::layer::{self, Alone};
use super::paths::update;
use super::writer::Writer;
use super::{Name, Store, Vm, image};
use files::{Files, Frozen};
use plan::{Plan, Rows, plan};

pub use files::entries;
pub use inventory::reopen;

/// Something found or done, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// What it is about: `vm`, `image`, `layer`, `leftover`, `inventory`.
    pub check: &'static str,
    /// What it is.
    pub text: String,
}

/// How a store is, as far as its files and its inventory tell.
#[derive(Debug, Default)]
pub struct Examination {
    /// What a repair does something about.
    pub mendable: Vec<Remark>,
    /// What it leaves as it is, because it cannot be used and may be all there is.
    pub stuck: Vec<Remark>,
}

/// One thing to be done to the inventory.
struct Step {
    check: &'static str,
    /// What is the matter.
    problem: String,
    /// The same once it is done.
    deed: String,
    act: Act,
}

/// What is done.
enum Act {
    /// Gives an image a row, or the row this name.
    PutImage(image::Record, Name),
    /// Gives a layer a row, or the row what the files say.
    PutLayer(Frozen),
    /// The same with a VM.
    PutVm {
        vm: Vm,
        top: Heading,
        known: bool,
    },
    DropImage(Name),
    DropLayer(Uuid),
    DropVm(String),
    SetAside(std::path::PathBuf),
}

/// While there is one, nothing is made, removed or recorded in the store.
#[must_use = "nobody holds still once it is dropped"]
pub struct Still<'a> {
    _change: Change<'a>,
    _alone: Alone,
}

impl Store {
    /// Keeps everybody else from changing what there is, so that files and rows can be compared:
    /// nobody is between publishing something and recording it.
    ///
    /// # Errors
    /// Somebody has been writing for a minute, or nothing can be locked.
    pub fn hold_still(&self) -> Result<Still<'_>> {
        let alone = Alone::enter(&self.paths)?;
        Ok(Still { _change: self.inventory.hold()?, _alone: alone })
    }

    /// What a repair would find to do.
    ///
    /// # Errors
    /// The inventory or a directory cannot be read.
    pub fn examine(&self) -> Result<Examination> {
        let still = self.hold_still()?;
        let mut found = Examination { mendable: tmp::look(self)?, ..Examination::default() };
        found.mendable.extend(self.unsettled()?.into_iter().map(|vm| {
            let name = &vm.record.name;
            let text = format!("{name}: a snapshot was broken off; nothing is lost");
            Remark { check: "layer", text }
        }));
        found.mendable.extend(debris::look(self)?);
        let Plan { steps, stuck } = self.plan()?;
        drop(still);
        let remark = |step: Step| Remark { check: step.check, text: step.problem };
        found.mendable.extend(steps.into_iter().map(remark));
        found.stuck = stuck;
        Ok(found)
    }

    /// Puts in order what can be, and says what was done. `writer` says who writes to a VM's disk.
    ///
    /// # Errors
    /// The inventory or a directory cannot be read or written. What was done until then holds, and
    /// the repair can be begun again.
    pub fn repair(&mut self, writer: impl Fn(&Vm) -> Result<Writer>) -> Result<Vec<Remark>> {
        let done = self.repair_quietly(writer)?;
        let event =
            |it: &Remark| Event::new("repaired").with("about", it.check).with("text", &it.text);
        events::tell(self.paths.root(), done.iter().map(event));
        Ok(done)
    }

    fn repair_quietly(&mut self, writer: impl Fn(&Vm) -> Result<Writer>) -> Result<Vec<Remark>> {
        let alone = Alone::enter(&self.paths)?;
        let mut done = tmp::clear(self)?;
        done.extend(self.mend(&alone)?);
        for vm in self.unsettled()? {
            let name = &vm.record.name;
            let text = match writer(&vm).and_then(|writer| self.settle(&alone, &vm, &writer)) {
                Ok(()) => format!("{name}: a snapshot that was broken off is settled"),
                Err(error) => {
                    log::warn!(
                        "{name}: a snapshot was broken off: {}",
                        crate::failure::text(&error)
                    );
                    continue;
                }
            };
            done.push(Remark { check: "layer", text });
        }
        Ok(done)
    }

    /// Makes the inventory say what the files say.
    fn mend(&self, _: &Alone) -> Result<Vec<Remark>> {
        let change = self.inventory.hold()?;
        let mut done = debris::clear(self)?;
        let Plan { steps, .. } = self.plan()?;
        if steps.is_empty() {
            return Ok(done);
        }
        self.apply(&change, &steps).context("cannot bring the inventory in line with the files")?;
        change.commit()?;
        self.inventory.sync()?;
        for step in steps {
            let moved = match &step.act {
                Act::SetAside(path) => {
                    format!("; moved to {}", aside::set_aside(&self.paths, path)?.display())
                }
                _ => String::new(),
            };
            done.push(Remark { check: step.check, text: step.deed + &moved });
        }
        Ok(done)
    }

    fn plan(&self) -> Result<Plan> {
        let vms = self.inventory.vms()?.into_iter().map(|row| {
            let top = self.inventory.top(&row.id)?;
            Ok((row, top))
        });
        let rows = Rows {
            images: self.inventory.images()?,
            layers: self.inventory.layers()?,
            vms: vms.collect::<Result<_>>()?,
        };
        let mut plan = plan(&Files::read(&self.paths)?, &rows);
        // Whoever is about to stand on a layer has it open until its header says so.
        let told = self.refuse_untold().is_ok();
        plan.steps.retain(|step| match &step.act {
            Act::SetAside(path) => told && !super::remove::is_open(&path.join(layer::DELTA)),
            _ => true,
        });
        Ok(plan)
    }

    /// Rows in an order that their foreign keys allow: VMs that change go first and come last.
    fn apply(&self, change: &Change<'_>, steps: &[Step]) -> Result<()> {
        let mut changed = BTreeSet::new();
        for step in steps {
            match &step.act {
                Act::PutVm { vm, known: true, .. } => {
                    change.delete_vm(&vm.record.id())?;
                }
                Act::DropVm(id) => change.delete_vm(id)?,
                _ => {}
            }
            if let Act::PutVm { vm, .. } = &step.act {
                changed.insert(vm.record.id());
            }
        }
        for step in steps {
            match &step.act {
                Act::PutImage(record, name) => self.put_image(change, record, name)?,
                Act::PutLayer(found) => change.link(link(&found.heading))?,
                _ => {}
            }
        }
        for step in steps {
            if let Act::PutVm { vm, top, .. } = &step.act {
                self.put_vm(change, vm, top)?;
            }
        }
        self.put_snapshots(change, steps, &changed)?;
        for step in steps {
            match &step.act {
                Act::DropLayer(uuid) => change.forget(*uuid)?,
                Act::DropImage(name) => change.delete_image(name)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn put_image(&self, change: &Change<'_>, record: &image::Record, name: &Name) -> Result<()> {
        let record = image::Record { name: name.clone(), ..record.clone() };
        let path = self.paths.image(&record.digest).join(image::RECORD);
        if self.image_with(&record.digest)?.record.name != *name {
            update(&path, &record)?;
        }
        match change.image_with(&record.digest)? {
            Some(_) => change.describe(&Place::Image(record.digest.clone()), &describe(record)),
            None => change.insert_image(&record),
        }
    }

    fn put_vm(&self, change: &Change<'_>, vm: &Vm, top: &Heading) -> Result<()> {
        // Its name may have been another's.
        let path = vm.dir.join(super::vm::RECORD);
        if super::paths::load::<super::vm::Record>(&path)?.name != vm.record.name {
            update(&path, &vm.record)?;
        }
        let image = vm.record.image.as_deref();
        let parent = image.map(|digest| change.base_of(digest)).transpose()?;
        change.insert_vms([NewVm { record: &vm.record, delta: top.uuid, parent }])?;
        // What it stands on may be another layer, or none.
        change.link(link(top))
    }

    /// Records which frozen layer is whose: of those that are put, and of all VMs that are.
    fn put_snapshots(
        &self,
        change: &Change<'_>,
        steps: &[Step],
        vms: &BTreeSet<String>,
    ) -> Result<()> {
        let mut records: Vec<layer::Record> = Vec::new();
        for step in steps {
            if let Act::PutLayer(found) = &step.act {
                records.push(found.record.clone());
            }
        }
        for row in self.inventory.layers()? {
            let record = self.layer(row.uuid).and_then(|layer| layer.record());
            let new = !records.iter().any(|record| record.uuid == row.uuid);
            if let Ok(record) = record
                && vms.contains(&record.vm)
                && new
            {
                records.push(record);
            }
        }
        for record in &records {
            change.forget_snapshot(record.uuid)?;
        }
        self.insert_snapshots(change, records)
    }

    /// Two snapshots of a VM cannot have one name: the newer loses it here, and in its record.
    fn insert_snapshots(&self, change: &Change<'_>, mut records: Vec<layer::Record>) -> Result<()> {
        records.sort_by_key(|record| record.created);
        for mut record in records {
            if let Some(name) = &record.name
                && change.has_snapshot(&record.vm, name)?
            {
                log::warn!("{} has two snapshots {name}: the newer has no name now", record.origin);
                record.name = None;
                update(&self.paths.layer(record.uuid).join(layer::RECORD), &record)?;
            }
            change.insert_snapshot(&record)?;
        }
        Ok(())
    }

    /// VMs whose last snapshot was broken off.
    fn unsettled(&self) -> Result<Vec<Vm>> {
        let rows = self.inventory.vms()?.into_iter();
        let vms = rows.filter_map(|row| self.vm(&row.name).ok());
        Ok(vms.filter(|vm| self.is_unsettled(vm).unwrap_or(false)).collect())
    }

    fn is_unsettled(&self, vm: &Vm) -> Result<bool> {
        let top = vm.heading()?;
        let twice = self.paths.layer(top.uuid).exists();
        let below = self.layer(top.parent.uuid);
        Ok(twice || below.is_ok_and(|layer| layer.heading.state == State::Live))
    }
}

fn describe(image: image::Record) -> Description {
    let image::Record { name, notes, labels, protected, .. } = image;
    Description { name, notes, labels, protected }
}
