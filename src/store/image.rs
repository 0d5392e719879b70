//! Images: a base, perhaps with a kernel and an initrd, that never changes.
//!
//! `images/<digest>/{base,kernel,initrd,image.toml}`; the digest is of everything the image is,
//! [`Record::digest`] says how.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use blockdev::ErrorKind;
use blockdev::base::{Base, Digest, Identity};
use serde::{Deserialize, Serialize};

use super::Store;
use super::discover::Found;
use super::draft::{Busy, Trash};
use super::edit;
use super::events::{self, Event};
use super::fault;
use super::inventory::Place;
use super::layer::Alone;
use super::name::Name;
use super::paths::{load, refuse_missing, sync_dir, update};
use super::reserve::Reserve;
use super::sound::{self, Sound};
use super::time::Timestamp;
use crate::failure::{Code, Failure};

/// The file names in an image's directory.
pub const BASE: &str = "base";
pub(super) const KERNEL: &str = "kernel";
pub(super) const INITRD: &str = "initrd";
pub(super) const RECORD: &str = "image.toml";

/// What to do about files that are not what was imported.
const IMPORT_AGAIN: &str = "import it again, under another name";

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
    /// The kernel's command line, when there is one.
    pub cmdline: Option<String>,
    /// What the base is known by.
    pub base: Identity,
    /// What was found on the disk, where a system was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
    /// What people wrote about it.
    #[serde(default)]
    pub notes: String,
    /// `key=value` pairs people gave it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// It is not removed before somebody says otherwise.
    #[serde(default)]
    pub protected: bool,
}

impl Record {
    /// What makes two images the same: content, not name, time or place.
    pub(super) fn manifest(&self) -> String {
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

impl Sound for Record {
    fn check(&self) -> Result<(), String> {
        let own = [&self.digest, &self.base.digest].into_iter();
        sound::digests(own.chain(&self.kernel).chain(&self.initrd))?;
        sound::texts(sound::words(&self.labels).chain([&self.notes]).chain(&self.cmdline))
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

impl Store {
    /// The image of this name.
    ///
    /// # Errors
    /// There is none, or its record is missing or damaged.
    pub fn image(&self, name: &Name) -> Result<Image> {
        let digest = self.inventory.image(name)?;
        let digest = digest.ok_or_else(|| self.inventory.no_image(name))?;
        self.image_with(&digest)
    }

    /// The image in this directory.
    ///
    /// # Errors
    /// Its record is missing or damaged.
    pub fn image_with(&self, digest: &str) -> Result<Image> {
        let dir = self.paths.image(digest);
        refuse_missing(&dir)?;
        let record = load(&dir.join(RECORD))
            .context(Failure::new(Code::Integrity, "the image's record cannot be used"))?;
        Ok(Image { dir, record })
    }

    /// Reads everything an image holds and compares it with what was imported. What comes back has
    /// the times and the inode that its base has now, be that a faithful copy.
    ///
    /// # Errors
    /// Something changed, is missing or cannot be read.
    pub fn verify_image(&self, name: &Name, progress: Progress<'_>) -> Result<Image> {
        let image = self.image(name)?;
        let record = &image.record;
        let found = blockdev::base::verify(&image.base(), progress).map_err(of_base)?;
        let files = [(image.kernel(), &record.kernel), (image.initrd(), &record.initrd)];
        for (file, recorded) in files {
            if let (Some(file), Some(recorded)) = (file, recorded) {
                let digest = blockdev::base::digest(&file, &mut |_, _| ())?;
                expect_digest(&file, &digest, recorded)?;
            }
        }
        let record = Record { base: found, ..image.record };
        Ok(Image { record, ..image })
    }

    /// Has an image that was verified be used again, where its base is not the file it was: in a
    /// store that was moved, or came back from a backup.
    ///
    /// # Errors
    /// Its record cannot be read or written.
    pub fn adopt_base(&mut self, verified: &Image) -> Result<()> {
        let path = verified.dir.join(RECORD);
        let base = &verified.record.base;
        if load::<Record>(&path)?.base == *base {
            return Ok(());
        }
        let _change = self.inventory.change()?;
        update(&path, &Record { base: base.clone(), ..load(&path)? })?;
        sync_dir(&verified.dir)
    }

    /// Removes an image nobody stands on.
    ///
    /// # Errors
    /// There is none of this name, it is protected, or VMs stand on it: they are listed.
    pub fn remove_image(&mut self, name: &Name) -> Result<()> {
        let alone = Alone::enter(&self.paths)?;
        let _reserve = Reserve::give_up(&self.paths);
        self.remove_image_alone(&alone, name)
    }

    /// As [`remove_image`](Store::remove_image).
    pub(super) fn remove_image_alone(&mut self, alone: &Alone, name: &Name) -> Result<()> {
        let digest = self.inventory.image(name)?;
        let digest = digest.ok_or_else(|| self.inventory.no_image(name))?;
        let _busy = Busy::enter(&self.paths)?;
        let base = self.inventory.base(&digest)?;
        let path = self.paths.image(&digest).join(BASE);
        let change = self.inventory.change()?;
        change.delete_image(name)?;
        drop(change);
        self.refuse_users(alone, &path, base)?;
        let change = self.inventory.change()?;
        let place = Place::Image(digest.clone());
        if change.find(name)? != place {
            return Err(Failure::in_use("it was renamed meanwhile").hint("the same again").into());
        }
        edit::refuse_protected(&change, &self.paths, &place, name)?;
        change.delete_image(name)?;
        let trash = Trash::take(&self.paths, [self.paths.image(&digest)])?;
        sync_dir(&self.paths.images())?;
        fault::point("image-taken");
        change.commit()?;
        trash.empty()?;
        let event = Event::of_image("image-removed", name.as_str(), &digest);
        events::tell(self.paths.root(), [event]);
        Ok(())
    }
}

/// Says what to do about a base that is another one.
fn of_base(error: blockdev::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::Integrity => Failure::new(Code::Integrity, error).hint(IMPORT_AGAIN).into(),
        _ => error.into(),
    }
}

fn expect_digest(file: &Path, found: &str, recorded: &str) -> Result<()> {
    if found == recorded {
        return Ok(());
    }
    let what = format!(
        "{} changed since it was imported: its digest is {found}, was {recorded}",
        file.display()
    );
    Err(Failure::new(Code::Integrity, what).hint(IMPORT_AGAIN).into())
}
