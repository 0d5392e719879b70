//! Cloning: a new VM with an empty delta on an image, or on a frozen layer of another VM.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;
use blockdev::base::Digest;
use blockdev::delta::{self, Heading, Parent, ParentKind};
use customize::Spec;

use super::Store;
use super::blank::Blank;
use super::draft::Busy;
use super::freeze::Mark;
use super::home;
use super::image;
use super::layer::Alone;
use super::name::Name;
use super::paths::Paths;
use super::vm::{Boot, Record, Vm};
use super::writer::Writer;
use crate::failure::Failure;

/// The longest disk, bytes, as [`blockdev`] has it.
const LARGEST: u64 = 64 << 40;

/// `IMAGE`, `VM` or `VM@SNAPSHOT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// An image or a VM.
    pub name: Name,
    /// One of the VM's snapshots.
    pub snapshot: Option<Name>,
}

impl FromStr for Source {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Source, Failure> {
        match text.split_once('@') {
            None => Ok(Source { name: text.parse()?, snapshot: None }),
            Some((name, snapshot)) => {
                Ok(Source { name: name.parse()?, snapshot: Some(snapshot.parse()?) })
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.snapshot {
            None => write!(f, "{}", self.name),
            Some(snapshot) => write!(f, "{}@{snapshot}", self.name),
        }
    }
}

/// What is to be cloned.
#[derive(Clone, Debug)]
pub struct CloneRequest {
    /// Of what.
    pub source: Source,
    /// What to call the clones.
    pub names: Names,
    /// vCPUs; the source's when not said.
    pub cpus: Option<u16>,
    /// Guest memory, MiB; the source's when not said.
    pub memory_mib: Option<u64>,
    /// The disk's length in bytes, at least the source's; the source's when not said.
    pub disk_size: Option<u64>,
    /// What they boot; the source's where not said.
    pub boot: Boot,
    /// For people.
    pub notes: String,
    /// For people.
    pub labels: BTreeMap<String, String>,
    /// What their guests are told; the source's own where not said.
    pub spec: Option<Spec>,
    /// Whether they are clean at every start.
    pub ephemeral: bool,
    /// The directory their deltas are to be in, an absolute path; the store's where not said.
    pub delta_dir: Option<PathBuf>,
    /// Whether they are to be true copies of the source, under other names.
    pub keep_identity: bool,
}

impl CloneRequest {
    /// Refuses a directory that cannot hold their deltas, before anything is done for them.
    pub(super) fn refuse_unusable_dir(&self, paths: &Paths) -> Result<(), Failure> {
        self.delta_dir.as_deref().map_or(Ok(()), |dir| home::refuse_unusable(dir, paths))
    }
}

/// How clones are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// After their source, with the next numbers.
    Next(u32),
    /// As said.
    Given(Vec<Name>),
    /// As said, each with the number its spec sees.
    Numbered(Vec<(Name, u32)>),
}

impl Names {
    /// Those that are said, each with its number.
    pub(super) fn said(&self) -> Vec<(Name, u32)> {
        match self {
            Names::Next(_) => Vec::new(),
            Names::Given(names) => names.iter().cloned().zip(1..).collect(),
            Names::Numbered(names) => names.clone(),
        }
    }

    /// Once for each of them.
    pub(super) fn each(&self) -> impl Iterator<Item = ()> {
        let count = match self {
            Names::Next(count) => *count as usize,
            Names::Given(names) => names.len(),
            Names::Numbered(names) => names.len(),
        };
        std::iter::repeat_n((), count)
    }
}

/// What clones have been made.
#[derive(Debug)]
pub struct Clones {
    /// They themselves.
    pub vms: Vec<Vm>,
    /// Whether their source was running: they have its disk as a power cut would have left it.
    pub of_running: bool,
}

impl Clones {
    /// What is to be said of clones of a running VM.
    pub fn remark(&self, source: &Source) -> Option<String> {
        let text = format!("{source} is running: its disk was cloned as a power cut leaves it");
        self.of_running.then_some(text)
    }
}

/// What clones stand on, and have in common with it.
pub(super) struct Origin {
    pub(super) parent: Parent,
    pub(super) size: u64,
    pub(super) image: Option<Digest>,
    pub(super) settings: Option<Record>,
    /// The kernel's command line where neither the request nor the source says otherwise.
    pub(super) cmdline: Option<String>,
    /// What a VM that is cloned boots out of its own directory, and under which names.
    pub(super) own_files: Vec<(&'static str, PathBuf)>,
    pub(super) of_running: bool,
    /// Held while the layer could be removed.
    pub(super) alone: Option<Alone>,
}

impl Store {
    /// Makes linked clones of an image, of a snapshot, or of a VM as it is now: all of them, or
    /// none. `writer` says who writes to a VM's disk.
    ///
    /// # Errors
    /// There is no such source, a name is taken, the disk would be smaller than the source's, or
    /// there is no room.
    pub fn clone(
        &mut self,
        request: &CloneRequest,
        writer: impl Fn(&Vm) -> Result<Writer>,
    ) -> Result<Clones> {
        // Before anything is frozen for them; only a change can be sure.
        let said = request.names.said();
        said.iter().try_for_each(|(name, _)| self.inventory.refuse_taken(name))?;
        request.refuse_unusable_dir(&self.paths)?;
        let origin = self.origin(&request.source, writer)?;
        let size = disk_size(origin.size, request.disk_size)?;
        let _busy = Busy::enter(&self.paths)?;
        let blank = || Blank::linked(&self.paths, &origin, size, request);
        let blanks = request.names.each().map(|_| blank()).collect::<Result<_>>()?;
        let vms = self.publish_clones(blanks, &origin, size, request)?;
        Ok(Clones { vms, of_running: origin.of_running })
    }

    pub(super) fn origin(
        &mut self,
        source: &Source,
        writer: impl Fn(&Vm) -> Result<Writer>,
    ) -> Result<Origin> {
        if self.inventory.vm(&source.name)?.is_none() {
            if source.snapshot.is_some() {
                return Err(self.inventory.no_vm(&source.name).into());
            }
            if self.inventory.image(&source.name)?.is_none() {
                return Err(self.inventory.no_image_or_vm(&source.name).into());
            }
            return self.image_origin(&source.name);
        }
        let alone = Alone::enter(&self.paths)?;
        // While it is waited for, much may become of the VM.
        let vm = self.vm(&source.name)?;
        match &source.snapshot {
            Some(snapshot) => {
                let layer = self.layer(self.snapshot(&vm, snapshot)?.uuid)?;
                self.vm_origin(vm, layer.as_parent()?, layer.heading.size, alone)
            }
            None => {
                let writer = writer(&vm)?;
                let (parent, size) = self.frozen_state(&alone, &vm, &writer)?;
                let of_running = matches!(writer, Writer::Monitor(_));
                Ok(Origin { of_running, ..self.vm_origin(vm, parent, size, alone)? })
            }
        }
    }

    /// Of clones of a VM as it is or was, on `parent`.
    fn vm_origin(&self, vm: Vm, parent: Parent, size: u64, alone: Alone) -> Result<Origin> {
        let files = [image::KERNEL, image::INITRD].into_iter();
        // Since its snapshot it may have been put on another image.
        let image = self.image_under(&parent)?.map(|image| image.record.digest);
        Ok(Origin {
            own_files: files.filter_map(|name| Some((name, vm.own(name)?))).collect(),
            parent,
            size,
            image: image.or(vm.record.image.clone()),
            settings: Some(vm.record),
            cmdline: None,
            of_running: false,
            alone: Some(alone),
        })
    }

    fn image_origin(&self, name: &Name) -> Result<Origin> {
        let image = self.image(name)?;
        Ok(Origin {
            parent: Parent::base(&image.record.base)?,
            size: image.record.base.size,
            image: Some(image.record.digest),
            settings: None,
            cmdline: None,
            own_files: Vec::new(),
            of_running: false,
            alone: None,
        })
    }

    /// What a VM's disk is now, as a parent of others; frozen first unless nothing was written
    /// since it last was.
    fn frozen_state(&mut self, alone: &Alone, vm: &Vm, writer: &Writer) -> Result<(Parent, u64)> {
        self.settle(alone, vm, writer)?;
        let top = vm.heading()?;
        if matches!(writer, Writer::Nobody(_)) && stands_for(&top, vm)? {
            return Ok((top.parent, top.size));
        }
        let (uuid, _) = self.freeze(alone, vm, writer, Mark::default())?;
        let heading = self.layer(uuid)?.heading;
        Ok((heading.as_parent(), heading.size))
    }
}

/// Whether an empty delta's parent is all there is of a disk.
fn stands_for(top: &Heading, vm: &Vm) -> Result<bool> {
    let whole = top.parent.kind != ParentKind::Nothing && top.size >= top.parent.size;
    Ok(whole && delta::inspect(&vm.delta())?.owned_blocks == 0)
}

/// The disk's length: whole sectors, and nothing of the source cut off.
pub(super) fn disk_size(least: u64, asked: Option<u64>) -> Result<u64> {
    let size = asked.unwrap_or(least);
    if size < least {
        let what = format!("a disk of {size} bytes is smaller than its source's {least}");
        return Err(Failure::usage(what).hint(format!("--disk-size {least}, or more")).into());
    }
    Ok(whole_sectors(size)?)
}

/// The length of a disk that is to have at least `size` bytes.
pub(super) fn whole_sectors(size: u64) -> Result<u64, Failure> {
    match size.checked_next_multiple_of(512) {
        Some(0) => Err(Failure::usage("a disk has at least one sector of 512 bytes")),
        Some(size) if size <= LARGEST => Ok(size),
        _ => Err(Failure::usage(format!("a disk of {size} bytes is too large: 64T is the most"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_name_or_a_name_and_a_snapshot() {
        let parse = |text: &str| text.parse::<Source>().map(|source| source.to_string());
        assert_eq!(parse("web").expect("a source"), "web");
        assert_eq!(parse("web@s1").expect("a source"), "web@s1");
        for bad in ["", "@", "web@", "@s1", "web@s1@s2", "web@../x"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
