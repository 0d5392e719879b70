//! What the directories of a store hold, whatever the inventory says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use blockdev::delta::{Heading, ParentKind};
use uuid::Uuid;

use crate::store::layer::{self, own_heading};
use crate::store::paths::{Paths, load};
use crate::store::{Vm, image, vm};

/// A frozen layer, as its own files have it.
#[derive(Clone, Debug)]
pub(super) struct Frozen {
    pub dir: PathBuf,
    pub record: layer::Record,
    pub heading: Heading,
}

/// Something in the place of an image, a VM or a layer that cannot be used as one.
#[derive(Debug)]
pub(super) struct Strange {
    pub check: &'static str,
    /// What its directory is called.
    pub name: String,
    pub path: PathBuf,
    pub error: anyhow::Error,
}

/// Everything that can be used, and everything that cannot.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub images: Vec<image::Record>,
    pub vms: Vec<(Vm, Heading)>,
    pub layers: BTreeMap<Uuid, Frozen>,
    pub strange: Vec<Strange>,
}

impl Files {
    /// Looks at every directory there is.
    ///
    /// # Errors
    /// `images/`, `vms/` or `layers/` cannot be listed.
    pub fn read(paths: &Paths) -> Result<Files> {
        let mut files = Files::default();
        for name in entries(&paths.images())? {
            match image_in(paths, &name) {
                Ok(record) => files.images.push(record),
                Err(error) => files.add_strange("image", name, &paths.images(), error),
            }
        }
        for name in entries(&paths.vms())? {
            match vm_in(paths, &name) {
                Ok(found) => files.vms.push(found),
                Err(error) => files.add_strange("vm", name, &paths.vms(), error),
            }
        }
        for name in entries(&paths.layers())? {
            match layer_in(paths, &name) {
                Ok(found) => drop(files.layers.insert(found.heading.uuid, found)),
                Err(error) => files.add_strange("layer", name, &paths.layers(), error),
            }
        }
        files.refuse_loops();
        Ok(files)
    }

    /// Whether this directory is there, be it of use or not.
    pub fn has_strange(&self, check: &str, name: &str) -> bool {
        self.strange.iter().any(|found| found.check == check && found.name == name)
    }

    fn add_strange(&mut self, check: &'static str, name: String, dir: &Path, error: anyhow::Error) {
        let path = dir.join(&name);
        self.strange.push(Strange { check, name, path, error });
    }

    /// Layers that stand on themselves are nobody's, however sound each is.
    fn refuse_loops(&mut self) {
        let looped: Vec<Uuid> =
            self.layers.keys().copied().filter(|&uuid| self.is_looped(uuid)).collect();
        for uuid in looped {
            if let Some(found) = self.layers.remove(&uuid) {
                let error = anyhow::anyhow!("layer {uuid} stands on itself");
                let (name, path) = (uuid.to_string(), found.dir);
                self.strange.push(Strange { check: "layer", name, path, error });
            }
        }
    }

    fn is_looped(&self, from: Uuid) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = Some(from);
        while let Some(found) = next.and_then(|uuid| self.layers.get(&uuid)) {
            if !seen.insert(found.heading.uuid) {
                return true;
            }
            let parent = &found.heading.parent;
            next = (parent.kind == ParentKind::Delta).then_some(parent.uuid);
        }
        false
    }
}

fn image_in(paths: &Paths, name: &str) -> Result<image::Record> {
    let dir = paths.image(name);
    let record: image::Record = load(&dir.join(image::RECORD))?;
    ensure!(record.digest == name, "its record is of image {}", record.digest);
    ensure!(dir.join(image::BASE).is_file(), "its base is missing");
    Ok(record)
}

fn vm_in(paths: &Paths, name: &str) -> Result<(Vm, Heading)> {
    let dir = paths.vm(name);
    let record: vm::Record = load(&dir.join(vm::RECORD))?;
    ensure!(record.id() == name, "its record is of VM {}", record.id());
    let vm = Vm { dir, record };
    let heading = vm.heading().with_context(|| vm.record.name.clone())?;
    Ok((vm, heading))
}

fn layer_in(paths: &Paths, name: &str) -> Result<Frozen> {
    let dir = paths.layers().join(name);
    let record: layer::Record = load(&dir.join(layer::RECORD))?;
    let heading = own_heading(&dir.join(layer::DELTA))?;
    ensure!(heading.uuid.to_string() == name, "its delta is layer {}", heading.uuid);
    ensure!(record.uuid == heading.uuid, "its record is of layer {}", record.uuid);
    Ok(Frozen { dir, record, heading })
}

/// The names in a directory, in order.
///
/// # Errors
/// It cannot be listed.
pub fn entries(dir: &Path) -> Result<Vec<String>> {
    let read = || {
        let entries = fs::read_dir(dir)?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok::<_, io::Error>(names)
    };
    read().with_context(|| format!("cannot read {}", dir.display()))
}
