//! Customization of clones: specs and the seed images made of them, in the VMs' directories.
//!
//! A clone is rendered once, when it is made: what its guest is told does not change with the VM's
//! name or the program's version, and cloud-init, which is told by the instance-id whether to look
//! again, could not notice. docs/customization.md.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use blockdev::base::{Base, Digest};
use customize::{Guest, Mac, Rendered, Spec};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::draft::Draft;
use super::identity::Identity;
use super::inventory::Change;
use super::name::Name;
use super::paths::{Paths, write_private};
use super::vm::{Record, Vm};
use crate::failure::{Code, Failure};

/// The VM's copy of its spec, in its directory.
pub(super) const SPEC: &str = "spec.toml";
/// The disk image made of it.
pub(super) const SEED: &str = "seed";
/// Bytes of a spec that are read, one more than one may have.
const LONGEST: u64 = (1 << 20) + 1;

/// How a VM's guest is told who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// Words in front of its kernel's command line.
    pub cmdline: String,
    /// BLAKE3 of the image that is its second disk, where it has one.
    pub seed: Option<Digest>,
}

/// Reads a spec.
///
/// # Errors
/// The file cannot be read, or is none.
pub fn load_spec(path: &Path) -> Result<Spec> {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    let unusable = || format!("cannot use the spec {}", path.display());
    read.with_context(unusable)?;
    Spec::parse(&text).map_err(Failure::usage).with_context(unusable)
}

/// What the clones of one command are, each another.
pub(super) struct Cast<'a> {
    change: &'a Change<'a>,
    script: Script<'a>,
    macs: HashSet<Mac>,
    /// Host names and addresses.
    taken: HashSet<String>,
}

/// Where customization comes from.
pub(super) enum Script<'a> {
    /// From nowhere: only an identity.
    Nothing,
    /// A spec.
    Spec(Box<Spec>),
    /// A VM of which true copies are made.
    Kept(&'a Paths, &'a Record),
}

/// Who a clone is, and the files that say so.
pub(super) struct Role {
    pub uuid: Uuid,
    pub identity: Identity,
    pub custom: Option<Custom>,
    spec: Option<String>,
    seed: Option<Vec<u8>>,
}

impl<'a> Script<'a> {
    /// What clones of `parent`, an image where there is none, are customized with: what was asked
    /// for, or what the parent was.
    pub fn new(
        paths: &'a Paths,
        asked: Option<&Spec>,
        keep: bool,
        parent: Option<&'a Record>,
    ) -> Result<Script<'a>> {
        match (asked, parent) {
            (_, None) if keep => {
                Err(Failure::usage("an image has no identity that could be kept").into())
            }
            (_, Some(parent)) if keep => Ok(Script::Kept(paths, parent)),
            (Some(spec), _) => Ok(Script::Spec(Box::new(spec.clone()))),
            (None, Some(parent)) if parent.custom.is_some() => {
                let spec = load_spec(&paths.vm(&parent.id()).join(SPEC));
                let what = || Failure::new(Code::Integrity, "its spec cannot be used");
                Ok(Script::Spec(Box::new(spec.with_context(what)?)))
            }
            (None, _) => Ok(Script::Nothing),
        }
    }
}

impl<'a> Cast<'a> {
    pub fn new(change: &'a Change<'a>, script: Script<'a>) -> Cast<'a> {
        Cast { change, script, macs: HashSet::new(), taken: HashSet::new() }
    }

    /// The role of the clone of this name and number.
    ///
    /// # Errors
    /// The spec makes nothing of it that can be, or what another clone has.
    pub fn role(&mut self, name: &Name, number: u32) -> Result<Role> {
        let uuid = Uuid::new_v4();
        if let Script::Kept(paths, parent) = &self.script {
            return copy(paths, parent, uuid);
        }
        let mut identity = Identity::unique(self.change, &mut self.macs, uuid, name)?;
        let Script::Spec(spec) = &self.script else {
            return Ok(Role { uuid, identity, custom: None, spec: None, seed: None });
        };
        let guest = Guest { name: name.to_string(), number, uuid, mac: identity.mac };
        let rendered = spec.render(&guest).map_err(Failure::usage);
        let rendered = rendered.with_context(|| format!("cannot make {name} of the spec"))?;
        let text = spec.text().to_owned();
        self.refuse_second(name, &rendered)?;
        identity.hostname = rendered.hostname;
        let seed = rendered.seed;
        let digest = seed.as_deref().map(digest);
        let custom = Some(Custom { cmdline: rendered.cmdline, seed: digest });
        Ok(Role { uuid, identity, custom, spec: Some(text), seed })
    }

    fn refuse_second(&mut self, name: &Name, rendered: &Rendered) -> Result<(), Failure> {
        let host = ("host name", rendered.hostname.to_ascii_lowercase());
        let addresses = rendered.addresses.iter().map(|address| ("address", address.clone()));
        for (what, value) in std::iter::once(host).chain(addresses) {
            if !self.taken.insert(value.clone()) {
                let what = format!("{name} would have the {what} {value}, as another clone has");
                return Err(Failure::usage(what).hint("put {n} or {name} into it, in the spec"));
            }
        }
        Ok(())
    }
}

/// The role `parent` has.
fn copy(paths: &Paths, parent: &Record, uuid: Uuid) -> Result<Role> {
    let dir = paths.vm(&parent.id());
    let custom = parent.custom.clone();
    let seed = custom.as_ref().and_then(|custom| custom.seed.as_ref());
    let seed = seed.map(|digest| read_seed(&dir.join(SEED), digest)).transpose()?;
    let path = dir.join(SPEC);
    let spec = custom.as_ref().map(|_| fs::read_to_string(&path)).transpose();
    let spec = spec.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Role { uuid, identity: parent.identity(), custom, spec, seed })
}

impl Role {
    /// Writes the files of a clone into its draft.
    pub fn write(&self, draft: &Draft) -> Result<()> {
        if let Some(spec) = &self.spec {
            write_private(&draft.file(SPEC), spec.as_bytes())?;
        }
        let seed = self.seed.as_ref();
        seed.map_or(Ok(()), |seed| write_private(&draft.file(SEED), seed))
    }
}

impl Vm {
    /// The image its guest learns from who it is, to be opened as a disk that is only read.
    ///
    /// # Errors
    /// It is missing, or not what it was.
    pub fn seed(&self) -> Result<Option<Base>> {
        let custom = self.record.custom.as_ref();
        let Some(digest) = custom.and_then(|custom| custom.seed.clone()) else {
            return Ok(None);
        };
        let path = self.dir.join(SEED);
        read_seed(&path, &digest)?;
        Ok(Some(base(path, digest)?))
    }
}

fn base(path: PathBuf, digest: Digest) -> Result<Base> {
    let metadata = fs::metadata(&path).with_context(|| format!("cannot use {}", path.display()))?;
    let nanoseconds = metadata.mtime().saturating_mul(1_000_000_000);
    let identity = blockdev::base::Identity {
        uuid: Uuid::nil(),
        size: metadata.len(),
        digest,
        mtime_ns: nanoseconds.saturating_add(metadata.mtime_nsec()),
        inode: metadata.ino(),
    };
    Ok(Base { path, identity })
}

fn read_seed(path: &Path, expected: &Digest) -> Result<Vec<u8>> {
    let unusable =
        || Failure::new(Code::Integrity, format!("the seed {} cannot be used", path.display()));
    let bytes = fs::read(path).with_context(unusable)?;
    if digest(&bytes) != *expected {
        return Err(Failure::new(Code::Integrity, "it is not what it was when it was made"))
            .with_context(unusable);
    }
    Ok(bytes)
}

fn digest(bytes: &[u8]) -> Digest {
    blake3::hash(bytes).to_hex().to_string()
}
