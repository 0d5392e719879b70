//! VMs: a machine's settings and one writable delta, in a directory of their own.
//!
//! `vms/<id>/{vm.toml,delta}` from the start, `spec.toml` and `seed` where it has a spec, `kernel`
//! and `initrd` where it needs no image; `lock`, `console.log`, `monitor.log` and `exit.json` once it
//! was started. Deleting a VM touches nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use blockdev::base::Digest;
use blockdev::delta::Heading;
use customize::hostname;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Store;
use super::customize::{Custom, SEED, SPEC};
use super::home::{self, Home};
use super::identity::Identity;
use super::image::{self, Image};
use super::layer::own_heading;
use super::name::Name;
use super::paths::{load, refuse_missing, sync_dir};
use super::sound::{self, Sound};
use super::time::Timestamp;
use crate::failure::{Code, Failure};

/// The delta, in a VM's directory.
pub const DELTA: &str = "delta";
pub(super) const RECORD: &str = "vm.toml";

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
    /// The image it stands on, or whose kernel it boots; none where it needs none.
    #[serde(default)]
    pub image: Option<Digest>,
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
    /// It is not removed or taken back before somebody says otherwise.
    #[serde(default)]
    pub protected: bool,
    /// It is clean at every start: what it writes goes when it ends.
    #[serde(default)]
    pub ephemeral: bool,
    /// Who it is; absent from records of older stores.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// How its guest is told, where it was cloned with a spec.
    #[serde(default)]
    pub custom: Option<Custom>,
}

impl Record {
    /// Names its directory.
    pub fn id(&self) -> String {
        let mut text = self.uuid.simple().to_string();
        text.truncate(16);
        text
    }

    /// Who it is.
    pub fn identity(&self) -> Identity {
        self.identity.clone().unwrap_or_else(|| Identity::of(self.uuid, &self.name))
    }
}

impl Sound for Record {
    fn check(&self) -> Result<(), String> {
        sound::machine(self.cpus, self.memory_mib)?;
        let custom = self.custom.as_ref();
        sound::digests(self.image.iter().chain(custom.and_then(|custom| custom.seed.as_ref())))?;
        let lines = self.boot.cmdline.iter().chain(custom.map(|custom| &custom.cmdline));
        sound::texts(sound::words(&self.labels).chain([&self.notes]).chain(lines))?;
        let identity = self.identity.as_ref();
        identity.map_or(Ok(()), |own| {
            hostname::check(&own.hostname)
                .map_err(|why| format!("{:?} is no host name: {why}", own.hostname))
        })
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
    /// Its delta.
    pub fn delta(&self) -> PathBuf {
        home::file(&self.entry())
    }

    /// The delta's entry in the store.
    pub fn entry(&self) -> PathBuf {
        self.dir.join(DELTA)
    }

    /// Where its deltas are.
    pub fn home(&self) -> Home {
        Home::of(&self.entry())
    }

    /// What its delta's header says.
    ///
    /// # Errors
    /// It is missing, damaged, or of a newer version.
    pub fn heading(&self) -> Result<Heading> {
        own_heading(&self.entry())
    }

    /// The kernel of its own, be it in its directory or elsewhere, if it has one.
    pub fn kernel(&self) -> Option<PathBuf> {
        self.record.boot.kernel.clone().or_else(|| self.own(image::KERNEL))
    }

    /// Whether its directory holds the kernel it boots.
    pub fn is_self_booting(&self) -> bool {
        self.own(image::KERNEL).is_some()
    }

    /// The initial ramdisk of its own, if it has one.
    pub fn initrd(&self) -> Option<PathBuf> {
        self.record.boot.initrd.clone().or_else(|| self.own(image::INITRD))
    }

    /// A file in its directory, if it is there.
    pub(super) fn own(&self, name: &str) -> Option<PathBuf> {
        let path = self.dir.join(name);
        path.exists().then_some(path)
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

impl Store {
    /// Makes a VM durable: its files, their place and its row. Cloning does not wait for the disk,
    /// because a clone nobody has started holds nothing that cloning again would not give; every
    /// start does this first.
    ///
    /// # Errors
    /// The filesystem refuses. Files that cannot be opened are left to those who need them.
    pub fn sync_vm(&self, vm: &Vm) -> Result<()> {
        // Whatever stands in the place of a file must not hold us up.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let files =
            [RECORD, SPEC, SEED, image::KERNEL, image::INITRD].map(|name| vm.dir.join(name));
        for path in files.into_iter().chain([vm.delta()]) {
            if let Ok(file) = rustix::fs::open(&path, flags, Mode::empty()) {
                rustix::fs::fsync(file)
                    .with_context(|| format!("cannot sync {}", path.display()))?;
            }
        }
        vm.home().sync()?;
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
        refuse_missing(&dir)?;
        let record = load(&dir.join(RECORD))
            .context(Failure::new(Code::Integrity, "the VM's record cannot be used"))?;
        Ok(Vm { dir, record })
    }

    /// The image a VM is of, unless it needs none.
    ///
    /// # Errors
    /// Its record is missing or damaged.
    pub fn image_of(&self, vm: &Vm) -> Result<Option<Image>> {
        vm.record.image.as_deref().map(|digest| self.image_with(digest)).transpose()
    }

    /// The directory of the VM of this name, which may be damaged or gone.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn vm_dir(&self, name: &Name) -> Result<PathBuf> {
        Ok(self.paths.vm(&self.vm_id(name)?))
    }

    pub(super) fn vm_id(&self, name: &Name) -> Result<String> {
        if let Some(id) = self.inventory.vm(name)? {
            return Ok(id);
        }
        Err(self.inventory.no_vm(name).into())
    }

    /// Has a VM's record say of which image it is: the one its disk stands on now, if on one.
    pub(super) fn follow_image(&mut self, vm: &Vm, image: Option<&Image>) -> Result<Vm> {
        match image.map(|image| &image.record.digest) {
            Some(digest) if vm.record.image.as_ref() != Some(digest) => {
                self.edit_vm(vm, |record| record.image = Some(digest.clone()))
            }
            _ => Ok(vm.clone()),
        }
    }

    /// Records the length a VM's disk has now.
    pub(super) fn set_disk_size(&mut self, vm: &Vm, size: u64) -> Result<()> {
        match vm.record.disk_size == size {
            true => Ok(()),
            false => self.edit_vm(vm, |record| record.disk_size = size).map(drop),
        }
    }
}
