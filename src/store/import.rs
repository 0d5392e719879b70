//! Taking an image in: from a file of any format that is read here, to `images/<digest>/`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use blockdev::base::Digest;
use blockdev::copy::{Source, Watch};
use blockdev::foreign::{self, Layer};
use rustix::fs::{Mode, OFlags};

use super::Store;
use super::discover::{self, Booted, store_file, store_kernel};
use super::draft::{Busy, Draft};
use super::events::{self, Event};
use super::fault;
use super::image::{BASE, INITRD, Image, RECORD, Record};
use super::name::Name;
use super::paths::{RECORD_VERSION, save, sync_dir};
use super::time::Timestamp;
use crate::failure::Failure;

/// Bytes: Linux puts a ramdisk below 2 GiB of memory.
const LARGEST_INITRD: u64 = 2 << 30;

/// What is to be imported.
#[derive(Clone, Debug)]
pub struct Import {
    /// A disk image or a block device, and what it stands on, from its parent down.
    pub layers: Vec<Layer>,
    /// What to call it.
    pub name: Name,
    /// A bzImage or an ELF.
    pub kernel: Option<PathBuf>,
    /// An initial ramdisk.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub cmdline: Option<String>,
    /// Look for a system on the disk, where no kernel is given.
    pub search: bool,
}

impl Store {
    /// Copies a disk image, and perhaps a kernel and an initrd, into the store.
    ///
    /// # Errors
    /// The name is taken, a file cannot be read or is not what it should be, the same image is
    /// there already, there is no room, or `watch` broke it off. Nothing is left behind then.
    pub fn import(&mut self, from: &Import, watch: Watch<'_>) -> Result<Image> {
        self.inventory.refuse_taken(&from.name)?;
        let source = foreign::open(&from.layers)?;
        let _busy = Busy::enter(&self.paths)?;
        let mut draft =
            Draft::create(&self.paths, &format!("import-{}", uuid::Uuid::new_v4().simple()))?;
        let record = fill(&draft, from, source, watch)?;

        let change = self.inventory.change()?;
        change.refuse_taken(std::slice::from_ref(&from.name))?;
        if let Some(name) = change.image_with(&record.digest)? {
            return Err(Failure::in_use(format!("the same image is here as {name}"))
                .hint(format!("offshoot clone {name}"))
                .into());
        }
        change.insert_image(&record)?;
        let dir = self.paths.image(&record.digest);
        draft.sync()?;
        fault::point("image-made");
        draft.publish(dir.clone())?;
        sync_dir(&self.paths.images())?;
        fault::point("image-published");
        change.commit()?;
        draft.keep();
        self.inventory.sync()?;
        let event = Event::of_image("imported", record.name.as_str(), &record.digest);
        events::tell(self.paths.root(), [event]);
        Ok(Image { dir, record })
    }
}

/// Writes everything of an image into its draft.
fn fill(draft: &Draft, from: &Import, source: Box<dyn Source>, watch: Watch<'_>) -> Result<Record> {
    // The small files first: what is wrong with them is found before gigabytes are copied.
    let kernel = from.kernel.as_deref().map(|path| store_kernel(draft, path)).transpose()?;
    let initrd = from.initrd.as_deref().map(|path| store_initrd(draft, path)).transpose()?;
    let base = blockdev::base::import_from(source, &draft.file(BASE), watch)?;
    let given = Booted { kernel, initrd, cmdline: from.cmdline.clone() };
    let (boot, found) = match from.search && from.kernel.is_none() {
        true => discover::discover(draft, given).map(|(boot, found)| (boot, Some(found)))?,
        false => (given, None),
    };
    let mut record = Record {
        version: RECORD_VERSION,
        name: from.name.clone(),
        digest: String::new(),
        created: Timestamp::now(),
        kernel: boot.kernel,
        initrd: boot.initrd,
        cmdline: boot.cmdline,
        base,
        found,
        notes: String::new(),
        labels: BTreeMap::new(),
        protected: false,
    };
    record.digest = blake3::hash(record.manifest().as_bytes()).to_hex().to_string();
    save(&draft.file(RECORD), &record)?;
    Ok(record)
}

fn store_initrd(draft: &Draft, path: &Path) -> Result<Digest> {
    let bytes = read_initrd(path).with_context(|| format!("cannot read {}", path.display()))?;
    store_file(draft, INITRD, &bytes)
}

fn read_initrd(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a FIFO would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if found.len() > LARGEST_INITRD {
        return Err(io::Error::other("it has more than 2 GiB, which no kernel takes"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_INITRD).read_to_end(&mut bytes)?;
    Ok(bytes)
}
