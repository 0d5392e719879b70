//! What people say about images and VMs: names, notes, labels, and that something must stay.
//!
//! A record changes while its reader holds the inventory's write lock, so that of two who change
//! one, be it a name or a disk's length, each sees what the other did. The file comes first, then
//! the row; after a crash between them the same command once more completes it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use uuid::Uuid;

use super::events::{self, Event};
use super::inventory::{Change, Place};
use super::layer::Alone;
use super::name::Name;
use super::paths::{Paths, load, refuse_missing, sync_dir, update};
use super::vm::{self, Vm};
use super::{Store, fault, image, layer};
use crate::failure::{Code, Failure};

/// What people say about an image or a VM. The keys are stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// What it is called.
    pub name: Name,
    /// What they wrote about it.
    pub notes: String,
    /// `key=value` pairs.
    pub labels: BTreeMap<String, String>,
    /// Whether it is kept from being removed or taken back.
    pub protected: bool,
}

/// A record, and where it is.
#[derive(Clone)]
enum Record {
    Image(PathBuf, image::Record),
    Vm(PathBuf, vm::Record),
}

impl Record {
    fn load(paths: &Paths, place: &Place) -> Result<Record> {
        let unusable = || Failure::new(Code::Integrity, "its record cannot be used");
        match place {
            Place::Image(digest) => {
                refuse_missing(&paths.image(digest))?;
                let path = paths.image(digest).join(image::RECORD);
                Ok(Record::Image(path.clone(), load(&path).with_context(unusable)?))
            }
            Place::Vm(id) => {
                refuse_missing(&paths.vm(id))?;
                let path = paths.vm(id).join(vm::RECORD);
                Ok(Record::Vm(path.clone(), load(&path).with_context(unusable)?))
            }
        }
    }

    fn description(&self) -> Description {
        let (name, notes, labels, protected) = match self {
            Record::Image(_, own) => (&own.name, &own.notes, &own.labels, own.protected),
            Record::Vm(_, own) => (&own.name, &own.notes, &own.labels, own.protected),
        };
        Description { name: name.clone(), notes: notes.clone(), labels: labels.clone(), protected }
    }

    fn describe(&mut self, Description { name, notes, labels, protected }: Description) {
        match self {
            Record::Image(_, own) => {
                *own = image::Record { name, notes, labels, protected, ..own.clone() };
            }
            Record::Vm(_, own) => {
                *own = vm::Record { name, notes, labels, protected, ..own.clone() };
            }
        }
    }

    /// Writes it in place of the one there is, durably.
    fn save(&self) -> Result<()> {
        let (Record::Image(path, _) | Record::Vm(path, _)) = self;
        match self {
            Record::Image(path, own) => update(path, own),
            Record::Vm(path, own) => update(path, own),
        }?;
        path.parent().map_or(Ok(()), sync_dir)
    }
}

impl Place {
    fn event(&self, event: &str, name: &Name) -> Event {
        match self {
            Place::Image(digest) => Event::of_image(event, name.as_str(), digest),
            Place::Vm(id) => Event::of_vm(event, name.as_str(), id),
        }
    }
}

impl Store {
    /// What people say about the image or VM of this name.
    ///
    /// # Errors
    /// There is none, or its record cannot be used.
    pub fn description(&self, name: &Name) -> Result<Description> {
        Ok(Record::load(&self.paths, &self.inventory.find(name)?)?.description())
    }

    /// Changes what people say about the image or VM of this name, which may run, and returns what
    /// they say now.
    ///
    /// # Errors
    /// There is none, its new name is taken, or its record cannot be read or written.
    pub fn describe(
        &mut self,
        name: &Name,
        edit: impl FnOnce(&mut Description),
    ) -> Result<Description> {
        let change = self.inventory.change()?;
        let place = change.find(name)?;
        let old = Record::load(&self.paths, &place)?;
        let mut about = old.description();
        edit(&mut about);
        if about.name != *name {
            change.refuse_taken(std::slice::from_ref(&about.name))?;
        }
        change.describe(&place, &about)?;
        let mut new = old.clone();
        new.describe(about.clone());
        new.save()?;
        fault::point("record-written");
        if let (Place::Vm(id), true) = (&place, about.name != *name) {
            let layers = change.set_origin(id, &about.name)?;
            rename_layers(&self.paths, &layers, &about.name);
        }
        if let Err(error) = change.commit() {
            // The row still says what it said.
            let restored = old.save();
            restored.unwrap_or_else(|error| log::error!("{}", crate::failure::text(&error)));
            return Err(error);
        }
        self.inventory.sync()?;
        if about.name != *name {
            let event = place.event("renamed", &about.name).with("old", name);
            events::tell(self.paths.root(), [event.with("new", &about.name)]);
        }
        Ok(about)
    }

    /// Protects an image or a VM, or does so no longer; the latter even where its record is lost.
    /// Whoever is taking it back or removing it meanwhile is done before.
    ///
    /// # Errors
    /// There is none, or its record cannot be read or written.
    pub fn protect(&mut self, name: &Name, protected: bool) -> Result<()> {
        let _alone = Alone::enter(&self.paths)?;
        let place = self.inventory.find(name)?;
        if !protected && Record::load(&self.paths, &place).is_err() {
            let change = self.inventory.change()?;
            change.set_protected(&place, false)?;
            return change.commit();
        }
        self.describe(name, |about| about.protected = protected).map(drop)
    }

    /// Changes a VM's record, and nothing the inventory knows of it.
    ///
    /// # Errors
    /// It cannot be read or written; the old one is still there then.
    pub(super) fn edit_vm(&mut self, vm: &Vm, edit: impl FnOnce(&mut vm::Record)) -> Result<Vm> {
        let _change = self.inventory.change()?;
        let path = vm.dir.join(vm::RECORD);
        let mut record = load(&path)?;
        edit(&mut record);
        update(&path, &record)?;
        sync_dir(&vm.dir)?;
        Ok(Vm { record, ..vm.clone() })
    }

    /// Refuses to go on where the image or VM of this name is protected.
    ///
    /// # Errors
    /// It is, or there is none.
    pub fn refuse_protected(&self, name: &Name) -> Result<()> {
        let place = self.inventory.find(name)?;
        let known = self.inventory.is_protected(&place)?;
        refuse(&self.paths, &place, name, known)
    }
}

/// As [`Store::refuse_protected`], for good: nobody can protect it until the change is over.
pub(super) fn refuse_protected(
    change: &Change<'_>,
    paths: &Paths,
    place: &Place,
    name: &Name,
) -> Result<()> {
    refuse(paths, place, name, change.is_protected(place)?)
}

/// The record decides; what the inventory last knew only where there is none.
fn refuse(paths: &Paths, place: &Place, name: &Name, known: bool) -> Result<()> {
    let record = Record::load(paths, place);
    if record.map_or(known, |record| record.description().protected) {
        let hint = format!("offshoot protect --off {name}");
        return Err(Failure::in_use("it is protected").hint(hint).into());
    }
    Ok(())
}

/// Has the records of a VM's frozen layers say what it is called now. What they say is only shown,
/// so one that is damaged stays as it is.
fn rename_layers(paths: &Paths, layers: &[Uuid], name: &Name) {
    for uuid in layers {
        let path = paths.layer(*uuid).join(layer::RECORD);
        let rename = || {
            let origin = name.clone();
            update(&path, &layer::Record { origin, ..load(&path)? })
        };
        rename().unwrap_or_else(|error| log::warn!("{}", crate::failure::text(&error)));
    }
}
