//! What an imported disk boots by itself: docs/distro-images.md. Whatever is on it, the import
//! goes on; only this machine's own troubles end it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use blockdev::base::Digest;
use distro::{DiskFile, Place, System};
use serde::{Deserialize, Serialize};

use super::draft::Draft;
use super::image::{BASE, INITRD, KERNEL};
use super::paths;

/// Where the kernel lies until it is unpacked.
const PACKED: &str = "kernel.packed";

/// What was found on an image's disk, and where. All texts are for people.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// What the system calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The partition of its root filesystem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The kernel that was taken: its path, and its partition if that is not the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The initial ramdisk that was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initrd: Option<String>,
    /// The file whose words are in the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline_from: Option<String>,
    /// Kernels that were not taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// What is damaged, not read here or missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What an image boots with.
#[derive(Clone, Debug, Default)]
pub(super) struct Booted {
    pub kernel: Option<Digest>,
    pub initrd: Option<Digest>,
    pub cmdline: Option<String>,
}

/// Looks for a system on the base in `draft` and puts its files there. What `given` has already
/// stays as it is.
///
/// # Errors
/// The base cannot be opened, or its files cannot be written.
pub(super) fn discover(draft: &Draft, given: Booted) -> Result<(Booted, Found)> {
    let path = draft.file(BASE);
    let base = File::open(&path).and_then(DiskFile::new);
    let found =
        distro::find(Rc::new(base.with_context(|| format!("cannot open {}", path.display()))?));
    let mut notes = found.notes;
    let Some(system) = found.system else {
        return Ok((given, Found { notes, ..Found::default() }));
    };
    match take(draft, &system, given.clone()) {
        Ok(booted) => Ok((booted, describe(system, notes))),
        Err(error) if writing(&error) => Err(error),
        Err(error) => {
            notes.push(format!("{}: {}", system.kernel, why(&error)));
            Ok((given, Found { system: Some(system.name), notes, ..Found::default() }))
        }
    }
}

fn describe(system: System, notes: Vec<String>) -> Found {
    // Where it is needs saying only where that is not the root.
    let place = |place: &Place| match system.root.as_ref() == Some(&place.volume) {
        true => place.path.clone(),
        false => place.to_string(),
    };
    let kernel = Some(place(&system.kernel));
    let initrd = system.initrd.as_ref().map(place);
    Found {
        system: (!system.name.is_empty()).then_some(system.name),
        root: system.root,
        kernel,
        initrd,
        cmdline_from: system.cmdline_from,
        others: system.others,
        notes,
    }
}

/// The reasons, without the name of a file that nobody has seen.
fn why(error: &anyhow::Error) -> String {
    let named = usize::from(error.downcast_ref::<vmm::boot::Error>().is_some());
    error.chain().skip(named).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Whether the failure is this machine's, not the image's.
fn writing(error: &anyhow::Error) -> bool {
    let theirs = error.downcast_ref::<distro::Error>();
    let unpacking = error.downcast_ref::<vmm::boot::Error>().is_some();
    !unpacking && theirs.is_none_or(|error| matches!(error, distro::Error::Write { .. }))
}

fn take(draft: &Draft, system: &System, given: Booted) -> Result<Booted> {
    let kernel = take_kernel(draft, system)?;
    let initrd = match (given.initrd, &system.initrd) {
        (None, Some(_)) => Some(take_initrd(draft, system)?),
        (given, _) => given,
    };
    let cmdline = given.cmdline.or_else(|| Some(system.cmdline.clone()));
    Ok(Booted { kernel: Some(kernel), initrd, cmdline })
}

fn take_kernel(draft: &Draft, system: &System) -> Result<Digest> {
    let packed = draft.file(PACKED);
    let copied = Hashed::create(&packed).and_then(|mut file| {
        system.copy_kernel(&mut file)?;
        Ok(())
    });
    let unpacked = copied.and_then(|()| store_kernel(draft, &packed));
    fs::remove_file(&packed).with_context(|| format!("cannot remove {}", packed.display()))?;
    unpacked
}

fn take_initrd(draft: &Draft, system: &System) -> Result<Digest> {
    let path = draft.file(INITRD);
    let mut file = Hashed::create(&path)?;
    match system.copy_initrd(&mut file) {
        Ok(()) => file.finish(&path),
        Err(error) => {
            fs::remove_file(&path)?;
            fs::remove_file(draft.file(KERNEL))?;
            Err(error.into())
        }
    }
}

/// Stores a kernel, unpacked.
///
/// # Errors
/// It is none that can be booted here, cannot be read, or the copy cannot be written.
pub(super) fn store_kernel(draft: &Draft, path: &Path) -> Result<Digest> {
    let bytes = match vmm::boot::unpack(path)? {
        Some(unpacked) => unpacked,
        None => fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
    };
    store_file(draft, KERNEL, &bytes)
}

/// Stores one of an image's files.
///
/// # Errors
/// It cannot be written.
pub(super) fn store_file(draft: &Draft, name: &str, bytes: &[u8]) -> Result<Digest> {
    let file = paths::write_new(&draft.file(name), bytes)?;
    file.set_permissions(fs::Permissions::from_mode(0o444))?;
    Ok(blake3::hash(bytes).to_hex().to_string())
}

/// A new file, and the digest of what is written to it.
struct Hashed {
    file: File,
    hasher: blake3::Hasher,
}

impl Hashed {
    fn create(path: &Path) -> Result<Hashed> {
        let file = File::create_new(path);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Hashed { file, hasher: blake3::Hasher::new() })
    }

    fn finish(self, path: &Path) -> Result<Digest> {
        self.file.set_permissions(fs::Permissions::from_mode(0o444))?;
        self.file.sync_all().with_context(|| format!("cannot sync {}", path.display()))?;
        Ok(self.hasher.finalize().to_hex().to_string())
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
