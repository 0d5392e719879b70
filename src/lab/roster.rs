//! What there is of a lab: its clones, and who else has names it asks for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::file::Group;
use super::{GROUP, LAB, Lab};
use crate::monitor::State;
use crate::store::USUAL_MEMORY;
use crate::store::inventory::VmRow;
use crate::store::vm::Record;
use crate::store::{Name, Store};

/// What there is at one moment.
#[derive(Default)]
pub struct Roster {
    /// The lab's clones, those the file does not ask for any more, too.
    pub members: BTreeMap<Name, Member>,
    /// Names the file asks for that others have, and what these are.
    pub foreign: BTreeMap<Name, &'static str>,
    /// What new clones of each group would inherit.
    pub sources: Vec<Origin>,
}

/// What a group's source gives its clones.
pub struct Origin {
    /// The image they stand on; unknown where there is no such source.
    pub image: Option<Name>,
    /// Guest memory, MiB.
    pub memory_mib: u64,
}

/// A clone of the lab.
pub struct Member {
    /// Its directory.
    pub dir: PathBuf,
    /// Which group it was made for.
    pub group: String,
    /// In a word, as in `ls`.
    pub state: &'static str,
    /// Its monitor.
    pub pid: Option<u32>,
    /// The image it stands on; none where it stands alone.
    pub image: Option<Name>,
    /// What it is; unknown where its files are damaged.
    pub record: Option<Record>,
    /// The directory its delta is in, where it is not the store's.
    pub delta_dir: Option<PathBuf>,
}

impl Member {
    /// Whether a process has it.
    pub fn is_live(&self) -> bool {
        matches!(self.state, "running" | "paused" | "starting" | "busy" | "serving" | "reading")
    }
}

/// Whether a VM is of this lab.
pub fn is_of(lab: &Lab, row: &VmRow) -> bool {
    row.labels.get(LAB).map(String::as_str) == Some(lab.name.as_str())
        && row.labels.contains_key(GROUP)
}

impl Roster {
    /// Looks.
    ///
    /// # Errors
    /// The inventory cannot be read.
    pub fn of(store: &Store, lab: &Lab) -> Result<Roster> {
        let mut roster = Roster::default();
        let mut others = BTreeMap::new();
        for row in store.inventory.vms()? {
            match is_of(lab, &row) {
                true => drop(roster.members.insert(row.name.clone(), member(store, row))),
                false => drop(others.insert(row.name, "a VM")),
            }
        }
        let images: Vec<_> = store.inventory.images()?.into_iter().map(|row| row.name).collect();
        others.extend(images.iter().map(|name| (name.clone(), "an image")));
        let foreign = lab.clones().filter_map(|(_, name)| others.remove_entry(name));
        roster.foreign = foreign.collect();
        let origin = |group: &Group| origin(store, &images, &group.request.source.name);
        roster.sources = lab.groups.iter().map(origin).collect();
        Ok(roster)
    }
}

fn member(store: &Store, row: VmRow) -> Member {
    let dir = store.paths.vm(&row.id);
    let (state, pid) = match State::of(&dir) {
        Ok(State::Running(holder)) => ("running", Some(holder.pid)),
        Ok(state) => (state.word(), None),
        Err(_) => ("damaged", None),
    };
    let vm = store.vm(&row.name).ok();
    let delta_dir = vm.as_ref().and_then(|vm| vm.home().chosen().map(Path::to_path_buf));
    let record = vm.map(|vm| vm.record);
    let group = row.labels.get(GROUP).cloned().unwrap_or_default();
    Member { dir, group, state, pid, image: row.image, record, delta_dir }
}

fn origin(store: &Store, images: &[Name], source: &Name) -> Origin {
    let vm = store.vm(source).ok();
    let of_vm = || Some(store.image_of(vm.as_ref()?).ok()??.record.name);
    Origin {
        image: if images.contains(source) { Some(source.clone()) } else { of_vm() },
        memory_mib: vm.as_ref().map_or(USUAL_MEMORY, |vm| vm.record.memory_mib),
    }
}
