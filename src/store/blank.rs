//! Clones in the making: what they are made of first, and then who they are, in one step for all.
//!
//! ```text
//!   tmp/<name>/{delta,kernel,initrd}    a blank: a disk and what it boots, nobody's yet
//!   tmp/<name>/{...,vm.toml,seed}       a role: name, number, addresses, in the inventory's change
//!   vms/<id>/                           published
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use blockdev::delta;
use uuid::Uuid;

use super::Store;
use super::clone::{CloneRequest, Names, Origin};
use super::customize::{Cast, Role, Script};
use super::draft::Draft;
use super::events;
use super::fault;
use super::home::Home;
use super::inventory::{Change, NewVm};
use super::name::Name;
use super::paths::{self, Paths, RECORD_VERSION, sync_dir};
use super::time::Timestamp;
use super::vm::{self, Boot, Record, Vm};

/// vCPUs where neither the request nor the source says otherwise.
const USUAL_CPUS: u16 = 1;
/// Guest memory likewise, MiB.
pub const USUAL_MEMORY: u64 = 512;

/// A clone's disk and what it boots, in `tmp/`: all but who it is.
pub(super) struct Blank {
    pub(super) draft: Draft,
    pub(super) delta: Uuid,
    /// What that stands on; nothing where it needs nothing.
    pub(super) parent: Option<Uuid>,
}

impl Blank {
    /// One with an empty disk of `size` bytes on what it is a clone of.
    pub(super) fn linked(
        paths: &Paths,
        origin: &Origin,
        size: u64,
        request: &CloneRequest,
    ) -> Result<Blank> {
        let draft = Draft::create(paths, &format!("clone-{}", Uuid::new_v4().simple()))?;
        share(&draft.file(""), &origin.own_files)?;
        let home = request.delta_dir.as_deref().map_or(Ok(Home::Store), Home::under)?;
        let path = home.place(&draft.file(vm::DELTA))?;
        let delta = delta::create(&path, size, &origin.parent)?;
        Ok(Blank { draft, delta, parent: Some(origin.parent.uuid) })
    }
}

/// A clone that is whole, and not known to the inventory yet.
struct Made {
    blank: Blank,
    vm: Vm,
}

impl Store {
    /// Makes clones of blanks, one of each: all of them, or none.
    ///
    /// # Errors
    /// A name is taken, the spec makes nothing of one that can be, what they stand on is gone, or
    /// there is no room.
    pub(super) fn publish_clones(
        &mut self,
        blanks: Vec<Blank>,
        origin: &Origin,
        size: u64,
        request: &CloneRequest,
    ) -> Result<Vec<Vm>> {
        // What is not durable would look as if it were not mounted.
        request.delta_dir.as_deref().map_or(Ok(()), sync_dir)?;
        let change = self.inventory.change()?;
        let names = numbered(&change, request)?;
        let (asked, keep) = (request.spec.as_ref(), request.keep_identity);
        let script = Script::new(&self.paths, asked, keep, origin.settings.as_ref())?;
        let mut cast = Cast::new(&change, script);
        let make = |((name, number), blank)| {
            let role = cast.role(&name, number)?;
            make(&self.paths, blank, record(origin, name, &role, size, request), &role)
        };
        let parts = names.into_iter().zip(blanks);
        let mut made = parts.map(make).collect::<Result<Vec<_>>>()?;
        change.insert_vms(made.iter().map(|Made { blank, vm }| NewVm {
            record: &vm.record,
            delta: blank.delta,
            parent: blank.parent,
        }))?;
        fault::point("clone-made");
        for Made { blank, vm } in &mut made {
            blank.draft.publish(vm.dir.clone())?;
        }
        fault::point("clone-published");
        change.commit()?;
        let vms: Vec<Vm> = made.into_iter().map(Made::keep).collect();
        events::tell(self.paths.root(), vms.iter().map(events::created));
        Ok(vms)
    }
}

impl Made {
    fn keep(self) -> Vm {
        self.blank.draft.keep();
        self.vm
    }
}

/// Makes a blank somebody.
fn make(paths: &Paths, blank: Blank, record: Record, role: &Role) -> Result<Made> {
    paths::save_unsynced(&blank.draft.file(vm::RECORD), &record)?;
    role.write(&blank.draft)?;
    Ok(Made { blank, vm: Vm { dir: paths.vm(&record.id()), record } })
}

/// What a clone is.
fn record(
    origin: &Origin,
    name: Name,
    role: &Role,
    disk_size: u64,
    request: &CloneRequest,
) -> Record {
    let settings = origin.settings.as_ref();
    Record {
        version: RECORD_VERSION,
        name,
        uuid: role.uuid,
        image: origin.image.clone(),
        disk_size,
        cpus: request.cpus.or(settings.map(|own| own.cpus)).unwrap_or(USUAL_CPUS),
        memory_mib: request
            .memory_mib
            .or(settings.map(|own| own.memory_mib))
            .unwrap_or(USUAL_MEMORY),
        created: Timestamp::now(),
        notes: request.notes.clone(),
        boot: boot(origin, &request.boot),
        labels: request.labels.clone(),
        protected: false,
        ephemeral: request.ephemeral,
        identity: Some(role.identity.clone()),
        custom: role.custom.clone(),
    }
}

fn boot(origin: &Origin, asked: &Boot) -> Boot {
    let own = origin.settings.as_ref().map(|record| record.boot.clone()).unwrap_or_default();
    Boot {
        kernel: asked.kernel.clone().or(own.kernel),
        initrd: asked.initrd.clone().or(own.initrd),
        cmdline: asked.cmdline.clone().or(own.cmdline).or_else(|| origin.cmdline.clone()),
    }
}

/// What clones are called, each with the number its spec sees.
fn numbered(change: &Change<'_>, request: &CloneRequest) -> Result<Vec<(Name, u32)>> {
    let Names::Next(count) = request.names else {
        let said = request.names.said();
        change.refuse_taken(said.iter().map(|(name, _)| name))?;
        return Ok(said);
    };
    // They are numbered here.
    let number = |name: &Name| name.as_str().rsplit('-').next()?.parse().ok();
    let names = change.next_names(&request.source.name, count)?;
    let numbered = names.into_iter().zip(1..).map(|(name, place)| {
        let number = number(&name).unwrap_or(place);
        (name, number)
    });
    Ok(numbered.collect())
}

/// Puts files that never change into a VM's directory, too, under these names.
pub(super) fn share(dir: &Path, files: &[(&str, PathBuf)]) -> Result<()> {
    for (name, from) in files {
        let to = dir.join(name);
        let shared = fs::hard_link(from, &to).or_else(|_| copy_whole(from, &to));
        shared.with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

/// Copies a file, so that half of it never has the name.
fn copy_whole(from: &Path, to: &Path) -> io::Result<()> {
    let part = to.with_extension("part");
    fs::copy(from, &part)?;
    File::open(&part)?.sync_all()?;
    fs::rename(&part, to)
}
