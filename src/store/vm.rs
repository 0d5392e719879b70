//! VMs: a machine's settings and one writable delta, in a directory of their own.
//!
//! `vms/<id>/{vm.toml,delta}` from the start; `lock`, `console.log`, `monitor.log` and `exit.json`
//! once it was started. Deleting a VM touches nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use blockdev::base::Digest;
use blockdev::delta::Parent;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Store;
use super::draft::{Busy, Draft, Trash};
use super::image::Image;
use super::lock::Lock;
use super::name::Name;
use super::paths::{self, Paths, RECORD_VERSION, load, sync_dir};
use super::time::Timestamp;
use crate::failure::{Code, Failure};

/// The delta, in a VM's directory.
pub const DELTA: &str = "delta";
const RECORD: &str = "vm.toml";

/// `vm.toml`: all there is to know about a VM that does not run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Of this file's layout.
    pub version: u32,
    /// Given when it was cloned.
    pub name: Name,
    /// The machine's own; its first 16 digits name the directory.
    pub uuid: Uuid,
    /// The image it stands on.
    pub image: Digest,
    /// The disk's length, bytes.
    pub disk_size: u64,
    /// vCPUs.
    pub cpus: u16,
    /// Guest memory, MiB.
    pub memory_mib: u64,
    /// When it was cloned.
    pub created: Timestamp,
    /// What people wrote about it.
    #[serde(default)]
    pub notes: String,
    /// What it boots instead of what the image says.
    #[serde(default)]
    pub boot: Boot,
    /// `key=value` pairs people gave it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Record {
    /// Names its directory.
    pub fn id(&self) -> String {
        let mut text = self.uuid.simple().to_string();
        text.truncate(16);
        text
    }
}

/// What a VM boots where that differs from its image. Paths are absolute, and not copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// A bzImage or an ELF.
    pub kernel: Option<PathBuf>,
    /// An initial ramdisk.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub cmdline: Option<String>,
}

/// A VM in the store.
#[derive(Clone, Debug)]
pub struct Vm {
    /// Its directory.
    pub dir: PathBuf,
    /// Its settings.
    pub record: Record,
}

impl Vm {
    /// The delta's place.
    pub fn delta(&self) -> PathBuf {
        self.dir.join(DELTA)
    }

    /// What its console printed.
    pub fn console_log(&self) -> PathBuf {
        self.dir.join("console.log")
    }

    /// What its monitor said.
    pub fn monitor_log(&self) -> PathBuf {
        self.dir.join("monitor.log")
    }
}

/// What is to be cloned.
#[derive(Clone, Debug)]
pub struct CloneRequest {
    /// An image.
    pub source: Name,
    /// What to call the clones.
    pub names: Names,
    /// vCPUs.
    pub cpus: u16,
    /// Guest memory, MiB.
    pub memory_mib: u64,
    /// The disk's length in bytes, at least the image's; the image's when not said.
    pub disk_size: Option<u64>,
    /// What they boot.
    pub boot: Boot,
    /// For people.
    pub notes: String,
    /// For people.
    pub labels: BTreeMap<String, String>,
}

/// How clones are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// After their source, with the next numbers.
    Next(u32),
    /// As said.
    Given(Vec<Name>),
}

impl Store {
    /// Makes linked clones of an image: all of them, or none.
    ///
    /// # Errors
    /// There is no such image, a name is taken, the disk would be smaller than the image's, or
    /// there is no room.
    pub fn clone_image(&mut self, request: &CloneRequest) -> Result<Vec<Vm>> {
        let image = self.source(&request.source)?;
        let disk_size = disk_size(&image, request.disk_size)?;
        let _busy = Busy::enter(&self.paths)?;
        let change = self.inventory.change()?;
        let names = match &request.names {
            Names::Next(count) => change.next_names(&request.source, *count)?,
            Names::Given(names) => {
                change.refuse_taken(names)?;
                names.clone()
            }
        };
        let make = |name| make(&self.paths, &image, name, disk_size, request);
        let mut made = names.into_iter().map(make).collect::<Result<Vec<_>>>()?;
        change.insert_vms(made.iter().map(|made| (&made.vm.record, made.delta)))?;
        for made in &mut made {
            made.draft.publish(made.vm.dir.clone())?;
        }
        change.commit()?;
        Ok(made.into_iter().map(Made::keep).collect())
    }

    fn source(&self, name: &Name) -> Result<Image> {
        match self.inventory.image(name)? {
            Some(digest) => self.image_with(&digest),
            None if self.inventory.vm(name)?.is_some() => {
                Err(Failure::usage(format!("{name} is a VM; only images can be cloned yet"))
                    .hint("offshoot image ls")
                    .into())
            }
            None => self.image(name),
        }
    }

    /// Makes a VM durable: its files, their place and its row. Cloning does not wait for the disk,
    /// because a clone nobody has started holds nothing that cloning again would not give; every
    /// start does this first.
    ///
    /// # Errors
    /// The filesystem refuses. Files that cannot be opened are left to those who need them.
    pub fn sync_vm(&self, vm: &Vm) -> Result<()> {
        // Whatever stands in the place of a file must not hold us up.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for path in [vm.dir.join(RECORD), vm.delta()] {
            if let Ok(file) = rustix::fs::open(&path, flags, Mode::empty()) {
                rustix::fs::fsync(file)
                    .with_context(|| format!("cannot sync {}", path.display()))?;
            }
        }
        sync_dir(&vm.dir)?;
        sync_dir(&self.paths.vms())?;
        self.inventory.sync()
    }

    /// The VM of this name.
    ///
    /// # Errors
    /// There is none, or its record is missing or damaged.
    pub fn vm(&self, name: &Name) -> Result<Vm> {
        let dir = self.vm_dir(name)?;
        let record = load(&dir.join(RECORD))
            .context(Failure::new(Code::Integrity, "the VM's record cannot be used"))?;
        Ok(Vm { dir, record })
    }

    /// The directory of the VM of this name, which may be damaged or gone.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn vm_dir(&self, name: &Name) -> Result<PathBuf> {
        Ok(self.paths.vm(&self.vm_id(name)?))
    }

    fn vm_id(&self, name: &Name) -> Result<String> {
        let id = self.inventory.vm(name)?;
        Ok(id.ok_or_else(|| {
            Failure::not_found(format!("there is no VM {name}")).hint("offshoot ls -a")
        })?)
    }

    /// Removes a VM that does not run, with everything it owns. Works on one whose files are
    /// damaged or gone, too.
    ///
    /// # Errors
    /// There is none of this name, or it runs.
    pub fn remove_vm(&mut self, name: &Name) -> Result<()> {
        let id = self.vm_id(name)?;
        let dir = self.paths.vm(&id);
        let _busy = Busy::enter(&self.paths)?;
        let _lock = dir.exists().then(|| Lock::take(&dir)).transpose()?;
        let change = self.inventory.change()?;
        change.delete_vm(&id)?;
        let trash = Trash::take(&self.paths, dir)?;
        sync_dir(&self.paths.vms())?;
        match (change.commit(), trash) {
            (Ok(()), Some(trash)) => trash.empty(),
            (Err(error), Some(trash)) => {
                trash.restore();
                Err(error)
            }
            (result, None) => result,
        }
    }
}

/// A clone that is whole, and not known to the inventory yet.
struct Made {
    draft: Draft,
    vm: Vm,
    delta: Uuid,
}

impl Made {
    fn keep(self) -> Vm {
        self.draft.keep();
        self.vm
    }
}

/// Makes one clone in `tmp/`.
fn make(
    paths: &Paths,
    image: &Image,
    name: Name,
    disk_size: u64,
    request: &CloneRequest,
) -> Result<Made> {
    let uuid = Uuid::new_v4();
    let record = Record {
        version: RECORD_VERSION,
        name,
        uuid,
        image: image.record.digest.clone(),
        disk_size,
        cpus: request.cpus,
        memory_mib: request.memory_mib,
        created: Timestamp::now(),
        notes: request.notes.clone(),
        boot: request.boot.clone(),
        labels: request.labels.clone(),
    };
    let draft = Draft::create(paths, &record.id())?;
    paths::save_unsynced(&draft.file(RECORD), &record)?;
    let parent = Parent::base(&image.record.base)?;
    let delta = blockdev::delta::create(&draft.file(DELTA), disk_size, &parent)?;
    Ok(Made { draft, vm: Vm { dir: paths.vm(&record.id()), record }, delta })
}

/// The disk's length: whole sectors, and nothing of the base cut off.
fn disk_size(image: &Image, asked: Option<u64>) -> Result<u64> {
    let least = image.record.base.size;
    let size = asked.unwrap_or(least);
    if size < least {
        let what = format!("a disk of {size} bytes is smaller than its image's {least}");
        return Err(Failure::usage(what).into());
    }
    size.checked_next_multiple_of(512)
        .ok_or_else(|| Failure::usage(format!("a disk of {size} bytes is too large")).into())
}
