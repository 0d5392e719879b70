//! Taking a sealed file in: a new VM on this store's own copy of the base.

use std::collections::HashSet;
use std::io::Read;

use anyhow::Result;
use blockdev::delta::Parent;
use blockdev::sealed::{BaseRef, Header, Reader, apply};
use blockdev::{Stack, StackSpec};
use uuid::Uuid;

use super::draft::{Busy, Draft};
use super::events;
use super::fault;
use super::identity::Identity;
use super::image::{self, Image};
use super::inventory::NewVm;
use super::paths::{RECORD_VERSION, save, sync_dir};
use super::settings::Settings;
use super::vm::{Boot, DELTA, RECORD, Record};
use super::{Name, Store, Timestamp, Vm};
use crate::failure::{Code, Failure};

/// How a sealed file is to be taken in.
#[derive(Clone, Debug)]
pub struct Attach {
    /// What to call the VM; the next number of its image when not said.
    pub name: Option<Name>,
    /// The image to put it on; the one it needs is looked for when not said.
    pub onto: Option<Name>,
}

/// A delta that is whole, and no VM's yet.
struct Made {
    draft: Draft,
    delta: Uuid,
    parent: Option<Uuid>,
}

impl Store {
    /// Makes a VM of a sealed file. It appears when the whole file has been checked and is durable;
    /// nothing is left behind otherwise. `progress` is told how many bytes have been read.
    ///
    /// # Errors
    /// The file is damaged, no image here has its base or the one named has another, the name is
    /// taken, or there is no room.
    pub fn attach<R: Read>(
        &mut self,
        sealed: &mut Reader<R>,
        request: &Attach,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vm> {
        if let Some(name) = &request.name {
            self.inventory.refuse_taken(name)?;
        }
        let settings = Settings::decode(sealed.settings(), sealed.path())?;
        let image = self.image_for(sealed.header(), &settings, request.onto.as_ref())?;
        tell_differences(&settings, &image.record);
        let _busy = Busy::enter(&self.paths)?;
        let record = record(&image, sealed.header().size, settings);
        let draft = Draft::create(&self.paths, &record.id())?;
        let made = make(draft, sealed, &image, progress)?;
        self.publish_vm(made, record, request.name.clone())
    }

    /// Names the VM and moves it to its place, in one step for everybody else.
    fn publish_vm(&mut self, mut made: Made, mut record: Record, name: Option<Name>) -> Result<Vm> {
        let change = self.inventory.change()?;
        record.name = match name {
            Some(name) => name,
            None => change.next_names(&record.name, 1)?.remove(0),
        };
        change.refuse_taken(std::slice::from_ref(&record.name))?;
        let identity = Identity::unique(&change, &mut HashSet::new(), record.uuid, &record.name)?;
        record.identity = Some(identity);
        save(&made.draft.file(RECORD), &record)?;
        let (delta, parent) = (made.delta, made.parent);
        change.insert_vms([NewVm { record: &record, delta, parent }])?;
        made.draft.sync()?;
        let dir = self.paths.vm(&record.id());
        made.draft.publish(dir.clone())?;
        sync_dir(&self.paths.vms())?;
        fault::point("attach-published");
        change.commit()?;
        made.draft.keep();
        self.inventory.sync()?;
        let vm = Vm { dir, record };
        events::tell(self.paths.root(), [events::created(&vm)]);
        Ok(vm)
    }

    /// The image to put the VM on: with the base that `header` names, or the one it boots from where
    /// it needs no base.
    fn image_for(
        &self,
        header: &Header,
        settings: &Settings,
        onto: Option<&Name>,
    ) -> Result<Image> {
        match (&header.base, onto) {
            (None, Some(name)) => self.image(name),
            (None, None) => self.image_named_by(settings),
            (Some(base), Some(name)) => {
                let image = self.image(name)?;
                if has_base(&image, base) { Ok(image) } else { Err(other_base(base, &image)) }
            }
            (Some(base), None) => self.find_image(base, &settings.image),
        }
    }

    /// The very image it was cloned from.
    fn image_named_by(&self, settings: &Settings) -> Result<Image> {
        let rows = self.inventory.images()?;
        let row = rows.iter().find(|row| row.digest == settings.image).ok_or_else(|| {
            let what = "its disk stands alone, and the image whose kernel it boots is not here";
            Failure::not_found(what).hint("--onto IMAGE, for another kernel")
        })?;
        self.image_with(&row.digest)
    }

    /// The very image `exported` where it is here, else the only one with this base.
    fn find_image(&self, base: &BaseRef, exported: &str) -> Result<Image> {
        let rows = self.inventory.images()?;
        // One whose record is damaged is for `doctor`, and can be nobody's parent.
        let images = rows.iter().filter_map(|row| self.image_with(&row.digest).ok());
        let mut fit: Vec<Image> = images.filter(|image| has_base(image, base)).collect();
        if let Some(same) = fit.iter().position(|image| image.record.digest == exported) {
            return Ok(fit.swap_remove(same));
        }
        match fit.as_slice() {
            [] => Err(no_image(base)),
            [_] => Ok(fit.remove(0)),
            several => Err(ambiguous(several)),
        }
    }
}

/// Writes the delta into its draft.
fn make<R: Read>(
    draft: Draft,
    sealed: &mut Reader<R>,
    image: &Image,
    progress: &mut dyn FnMut(u64),
) -> Result<Made> {
    let (path, header) = (draft.file(DELTA), sealed.header());
    let mut parent = Parent::base(&image.record.base)?;
    // Nothing shows of a base that is not needed.
    parent.visible = header.base.as_ref().map_or(0, |base| base.visible);
    let delta = blockdev::delta::create(&path, header.size, &parent)?;
    let spec = StackSpec { base: Some(image.base()), delta: Some(path), ..StackSpec::default() };
    apply(sealed, &Stack::open(&spec)?, progress)?;
    Ok(Made { draft, delta, parent: Some(parent.uuid) })
}

/// What the new VM is. It goes by its image's name until it is published, when no other name can be
/// taken by others any more.
fn record(image: &Image, disk_size: u64, settings: Settings) -> Record {
    Record {
        version: RECORD_VERSION,
        name: image.record.name.clone(),
        uuid: Uuid::new_v4(),
        image: Some(image.record.digest.clone()),
        disk_size,
        cpus: settings.cpus,
        memory_mib: settings.memory_mib,
        created: Timestamp::now(),
        notes: settings.notes,
        boot: Boot { kernel: None, initrd: None, cmdline: settings.cmdline },
        labels: settings.labels,
        protected: false,
        ephemeral: false,
        identity: None,
        custom: None,
    }
}

fn has_base(image: &Image, base: &BaseRef) -> bool {
    image.record.base.size == base.size && image.record.base.digest == hex(base)
}

fn hex(base: &BaseRef) -> String {
    blake3::Hash::from_bytes(base.digest).to_hex().to_string()
}

/// Says where the machine will not be quite what was exported.
fn tell_differences(settings: &Settings, image: &image::Record) {
    if settings.image != image.digest {
        log::warn!(
            "it was cloned from another image with the same base; here it boots what {} says",
            image.name
        );
    }
    for (what, own) in [("kernel", &settings.kernel), ("initrd", &settings.initrd)] {
        if let Some(digest) = own {
            log::warn!("it had a {what} of its own (BLAKE3 {digest}), which did not travel");
        }
    }
}

fn other_base(base: &BaseRef, image: &Image) -> anyhow::Error {
    let (wanted, found) = (hex(base), &image.record.base);
    let what = format!(
        "it stands on the base {wanted} ({} bytes); the base of {} is {} ({} bytes)",
        base.size, image.record.name, found.digest, found.size
    );
    Failure::new(Code::Integrity, what).hint("without --onto the right image is looked for").into()
}

fn no_image(base: &BaseRef) -> anyhow::Error {
    let what = format!(
        "no image here has the base it stands on: {} bytes, BLAKE3 {}",
        base.size,
        hex(base)
    );
    Failure::not_found(what).hint("offshoot image import that base, then attach again").into()
}

fn ambiguous(images: &[Image]) -> anyhow::Error {
    let names: Vec<_> = images.iter().map(|image| image.record.name.as_str()).collect();
    let what = format!("several images have the base it stands on: {}", names.join(", "));
    Failure::usage(what).hint(format!("--onto {}", names.first().unwrap_or(&"IMAGE"))).into()
}
