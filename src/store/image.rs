//! Images: a base, perhaps with a kernel and an initrd, that never changes.
//!
//! `images/<digest>/{base,kernel,initrd,image.toml}`; the digest is of everything the image is,
//! [`Record::digest`] says how.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use blockdev::base::{Base, Digest, Identity};
use serde::{Deserialize, Serialize};

use super::Store;
use super::draft::{Busy, Draft, Trash};
use super::layer::Alone;
use super::name::Name;
use super::paths::{self, RECORD_VERSION, load, save, sync_dir};
use super::time::Timestamp;
use crate::failure::{Code, Failure};

/// The file names in an image's directory.
pub const BASE: &str = "base";
const KERNEL: &str = "kernel";
const INITRD: &str = "initrd";
const RECORD: &str = "image.toml";

/// Told bytes done and bytes in all, while something long is read.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// `image.toml`: all there is to know about an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Of this file's layout.
    pub version: u32,
    /// Given at import.
    pub name: Name,
    /// Names its directory: BLAKE3 over what [`manifest`](Record::manifest) lists.
    pub digest: Digest,
    /// When it was imported.
    pub created: Timestamp,
    /// BLAKE3 of the kernel, when there is one. It is stored unpacked.
    pub kernel: Option<Digest>,
    /// BLAKE3 of the initial ramdisk, when there is one.
    pub initrd: Option<Digest>,
    /// The kernel's command line, when one was given.
    pub cmdline: Option<String>,
    /// What the base is known by.
    pub base: Identity,
}

impl Record {
    /// What makes two images the same: content, not name, time or place.
    fn manifest(&self) -> String {
        let or_none = |digest: &Option<Digest>| digest.clone().unwrap_or_else(|| "none".into());
        format!(
            "offshoot image 1\nbase {} {}\nkernel {}\ninitrd {}\ncmdline {:?}\n",
            self.base.size,
            self.base.digest,
            or_none(&self.kernel),
            or_none(&self.initrd),
            self.cmdline
        )
    }
}

/// An image in the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its directory.
    pub dir: PathBuf,
    /// What is known of it.
    pub record: Record,
}

impl Image {
    /// The base, as a stack wants it.
    pub fn base(&self) -> Base {
        Base { path: self.dir.join(BASE), identity: self.record.base.clone() }
    }

    /// The kernel's place, when there is one.
    pub fn kernel(&self) -> Option<PathBuf> {
        self.record.kernel.as_ref().map(|_| self.dir.join(KERNEL))
    }

    /// The initial ramdisk's place, when there is one.
    pub fn initrd(&self) -> Option<PathBuf> {
        self.record.initrd.as_ref().map(|_| self.dir.join(INITRD))
    }
}

/// What is to be imported.
#[derive(Clone, Debug)]
pub struct Import {
    /// A raw disk image or a block device.
    pub file: PathBuf,
    /// What to call it.
    pub name: Name,
    /// The file is raw whatever its first bytes look like.
    pub surely_raw: bool,
    /// A bzImage or an ELF.
    pub kernel: Option<PathBuf>,
    /// An initial ramdisk.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub cmdline: Option<String>,
}

impl Store {
    /// Copies a disk image, and perhaps a kernel and an initrd, into the store.
    ///
    /// # Errors
    /// The name is taken, a file cannot be read or is not what it should be, the same image is
    /// there already, or there is no room. Nothing is left behind then.
    pub fn import(&mut self, from: &Import, progress: Progress<'_>) -> Result<Image> {
        self.inventory.refuse_taken(&from.name)?;
        if !from.surely_raw {
            refuse_foreign(&from.file)?;
        }
        let _busy = Busy::enter(&self.paths)?;
        let mut draft =
            Draft::create(&self.paths, &format!("import-{}", uuid::Uuid::new_v4().simple()))?;
        let record = fill(&draft, from, progress)?;

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
        draft.publish(dir.clone())?;
        sync_dir(&self.paths.images())?;
        change.commit()?;
        draft.keep();
        self.inventory.sync()?;
        Ok(Image { dir, record })
    }

    /// The image of this name.
    ///
    /// # Errors
    /// There is none, or its record is missing or damaged.
    pub fn image(&self, name: &Name) -> Result<Image> {
        let digest = self.inventory.image(name)?.ok_or_else(|| {
            Failure::not_found(format!("there is no image {name}")).hint("offshoot image ls")
        })?;
        self.image_with(&digest)
    }

    /// The image in this directory.
    ///
    /// # Errors
    /// Its record is missing or damaged.
    pub fn image_with(&self, digest: &str) -> Result<Image> {
        let dir = self.paths.image(digest);
        let record = load(&dir.join(RECORD))
            .context(Failure::new(Code::Integrity, "the image's record cannot be used"))?;
        Ok(Image { dir, record })
    }

    /// Reads everything an image holds and compares it with what was imported.
    ///
    /// # Errors
    /// Something changed, is missing or cannot be read.
    pub fn verify_image(&self, name: &Name, progress: Progress<'_>) -> Result<Image> {
        let image = self.image(name)?;
        let record = &image.record;
        let base = image.dir.join(BASE);
        let digest = blockdev::base::digest(&base, progress)?;
        expect_digest(&base, &digest, &record.base.digest)?;
        let files = [(image.kernel(), &record.kernel), (image.initrd(), &record.initrd)];
        for (file, recorded) in files {
            if let (Some(file), Some(recorded)) = (file, recorded) {
                let digest = blockdev::base::digest(&file, &mut |_, _| ())?;
                expect_digest(&file, &digest, recorded)?;
            }
        }
        Ok(image)
    }

    /// Removes an image nobody stands on.
    ///
    /// # Errors
    /// There is none of this name, or VMs stand on it: they are listed.
    pub fn remove_image(&mut self, name: &Name) -> Result<()> {
        let digest = self.inventory.image(name)?.ok_or_else(|| {
            Failure::not_found(format!("there is no image {name}")).hint("offshoot image ls")
        })?;
        let alone = Alone::enter(&self.paths)?;
        let _busy = Busy::enter(&self.paths)?;
        let base = self.inventory.base(&digest)?;
        let path = self.paths.image(&digest).join(BASE);
        let change = self.inventory.change()?;
        change.delete_image(name)?;
        drop(change);
        self.refuse_users(&alone, &path, base)?;
        let change = self.inventory.change()?;
        change.delete_image(name)?;
        let trash = Trash::take(&self.paths, self.paths.image(&digest))?;
        sync_dir(&self.paths.images())?;
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

/// Writes everything of an image into its draft.
fn fill(draft: &Draft, from: &Import, progress: Progress<'_>) -> Result<Record> {
    // The small files first: what is wrong with them is found before gigabytes are copied.
    let kernel = from.kernel.as_deref().map(|path| store_kernel(draft, path)).transpose()?;
    let initrd = from.initrd.as_deref().map(|path| store_initrd(draft, path)).transpose()?;
    let base = blockdev::base::import(&from.file, &draft.file(BASE), progress)?;
    let mut record = Record {
        version: RECORD_VERSION,
        name: from.name.clone(),
        digest: String::new(),
        created: Timestamp::now(),
        kernel,
        initrd,
        cmdline: from.cmdline.clone(),
        base,
    };
    record.digest = blake3::hash(record.manifest().as_bytes()).to_hex().to_string();
    save(&draft.file(RECORD), &record)?;
    Ok(record)
}

fn store_kernel(draft: &Draft, path: &Path) -> Result<Digest> {
    let bytes = match vmm::boot::unpack(path)? {
        Some(unpacked) => unpacked,
        None => fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
    };
    store_file(draft, KERNEL, &bytes)
}

fn store_initrd(draft: &Draft, path: &Path) -> Result<Digest> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    store_file(draft, INITRD, &bytes)
}

fn store_file(draft: &Draft, name: &str, bytes: &[u8]) -> Result<Digest> {
    let file = paths::write_new(&draft.file(name), bytes)?;
    file.set_permissions(fs::Permissions::from_mode(0o444))?;
    Ok(blake3::hash(bytes).to_hex().to_string())
}

fn expect_digest(file: &Path, found: &str, recorded: &str) -> Result<()> {
    if found == recorded {
        return Ok(());
    }
    let what = format!(
        "{} changed since it was imported: its digest is {found}, was {recorded}",
        file.display()
    );
    Err(Failure::new(Code::Integrity, what).hint("import it again, under another name").into())
}

/// The first bytes of files that are no raw disk images, and what to do with them.
const FOREIGN: [(&[u8], &str); 10] = [
    (b"QFI\xfb", "qcow2"),
    (b"KDMV", "vmdk"),
    (b"# Disk DescriptorFile", "vmdk"),
    (b"vhdxfile", "vhdx"),
    (b"conectix", "vpc"),
    (b"QED\0", "qed"),
    (b"<<< ", "vdi"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
];

/// Refuses a file that looks like another format: imported as raw it would boot nothing, and its
/// own format must not be chosen by what a guest may have written to its first sector.
fn refuse_foreign(path: &Path) -> Result<()> {
    let mut start = Vec::with_capacity(32);
    let open = || File::open(path)?.take(32).read_to_end(&mut start);
    let mut open = open;
    open().with_context(|| format!("cannot read {}", path.display()))?;
    let Some((_, format)) = FOREIGN.iter().find(|(magic, _)| start.starts_with(magic)) else {
        return Ok(());
    };
    let path = path.display();
    let hint = match *format {
        "xz" | "gzip" | "zstd" => format!("unpack it with {format} first"),
        format => format!("qemu-img convert -f {format} -O raw {path} disk.raw"),
    };
    let what = format!("{path} looks like {format}; only raw images can be imported yet");
    Err(Failure::usage(what).hint(format!("{hint} (or --format raw, if it is raw)")).into())
}
