//! Where the store keeps what, and the few file operations every part of it needs.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use rustix::fs::{Mode, OFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::sound::Sound;
use crate::failure::{Code, Failure};

/// The version of `image.toml`, `layer.toml` and `vm.toml` this program writes and knows.
pub const RECORD_VERSION: u32 = 1;
/// The longest record, bytes: some times what a command line can add to one.
const LONGEST: usize = 16 << 20;
/// Whatever stands in the place of a file neither leads out of the store nor holds us up.
pub const PLAIN: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// The places under a store's root.
#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// The places under `root`, made absolute.
    ///
    /// # Errors
    /// The current directory is gone.
    pub fn new(root: &Path) -> Result<Paths> {
        let root = std::path::absolute(root).context("cannot tell where the store is")?;
        Ok(Paths { root })
    }

    /// The whole store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// One directory for each image.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// An image's directory.
    pub fn image(&self, digest: &str) -> PathBuf {
        self.images().join(digest)
    }

    /// One directory for each VM.
    pub fn vms(&self) -> PathBuf {
        self.root.join("vms")
    }

    /// A VM's directory.
    pub fn vm(&self, id: &str) -> PathBuf {
        self.vms().join(id)
    }

    /// One directory for each frozen layer.
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// A frozen layer's directory.
    pub fn layer(&self, uuid: Uuid) -> PathBuf {
        self.layers().join(uuid.to_string())
    }

    /// Things being made or taken apart.
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// What a repair moved out of the way.
    pub fn lost(&self) -> PathBuf {
        self.root.join("lost")
    }

    /// Room for removing things on a full filesystem.
    pub fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// The database.
    pub fn inventory(&self) -> PathBuf {
        self.root.join("inventory.db")
    }

    /// Makes the directories that are missing. The store is its owner's alone: disks hold secrets.
    ///
    /// # Errors
    /// One cannot be made.
    pub fn create(&self) -> Result<()> {
        for dir in [self.images(), self.vms(), self.layers(), self.tmp()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .with_context(|| format!("cannot create {}", dir.display()))?;
        }
        Ok(())
    }
}

/// Where the store is when nobody says so: `$XDG_DATA_HOME/offshoot`, for root
/// `/var/lib/offshoot`, else `~/.local/share/offshoot`.
///
/// # Errors
/// The environment does not say where home is.
pub fn default_root() -> Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    if let Some(data) = absolute("XDG_DATA_HOME") {
        return Ok(data.join("offshoot"));
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/offshoot"));
    }
    let home = absolute("HOME").ok_or_else(|| {
        Failure::usage("cannot tell where the store is: $HOME is not set")
            .hint("--root DIR, or OFFSHOOT_ROOT=DIR")
    })?;
    Ok(home.join(".local/share/offshoot"))
}

/// Writes a new file, durable when this returns except for its directory entry.
///
/// # Errors
/// It exists, or cannot be written.
pub fn write_new(path: &Path, content: &[u8]) -> Result<File> {
    let file = write_unsynced(path, content)?;
    file.sync_all().with_context(|| format!("cannot sync {}", path.display()))?;
    Ok(file)
}

fn write_unsynced(path: &Path, content: &[u8]) -> Result<File> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(content)?;
        Ok::<_, io::Error>(file)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Replaces a small file in one step: readers see the old content or the new.
///
/// # Errors
/// It cannot be written; the old content is still there then, and nothing of the new.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = OsString::from(path);
    name.push(".new");
    let new = PathBuf::from(name);
    let write = || {
        let mut options = File::options();
        options.write(true).create(true).truncate(true).custom_flags(PLAIN);
        let mut file = options.open(&new)?;
        file.write_all(content)?;
        file.sync_data()?;
        fs::rename(&new, path)
    };
    write().inspect_err(|_| {
        // Where even this fails, `doctor` finds it.
        let _ = fs::remove_file(&new);
    })
}

/// Writes a new file for its owner's eyes only, without waiting for the disk.
///
/// # Errors
/// It exists, or cannot be written.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(content));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a directory's entries durable.
///
/// # Errors
/// The filesystem refuses.
pub fn sync_dir(path: &Path) -> Result<()> {
    let sync = || File::open(path)?.sync_all();
    sync().with_context(|| format!("cannot sync {}", path.display()))
}

/// Writes a record as TOML.
///
/// # Errors
/// As [`write_new`], or it would not be read again.
pub fn save<T: Serialize + Sound>(path: &Path, record: &T) -> Result<File> {
    write_new(path, encode(record)?.as_bytes())
}

/// As [`save`], but does not wait for the disk.
///
/// # Errors
/// As [`save`].
pub fn save_unsynced<T: Serialize + Sound>(path: &Path, record: &T) -> Result<File> {
    write_unsynced(path, encode(record)?.as_bytes())
}

/// Writes a record in place of the one at `path`, in one step.
///
/// # Errors
/// It cannot be written, or would not be read again; the old one is still there then.
pub fn update<T: Serialize + Sound>(path: &Path, record: &T) -> Result<()> {
    replace(path, encode(record)?.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

pub(super) fn encode<T: Serialize + Sound>(record: &T) -> Result<String> {
    record.check().map_err(|why| anyhow!("cannot write it as a record: {why}"))?;
    let text = toml::to_string(record).context("cannot write it as TOML")?;
    match text.len() > LONGEST {
        true => {
            Err(anyhow!("cannot write a record of {} bytes: {LONGEST} are the most", text.len()))
        }
        false => Ok(text),
    }
}

/// Reads a record written by [`save`].
///
/// # Errors
/// The file is missing, damaged, or written by a newer program.
pub fn load<T: DeserializeOwned + Sound>(path: &Path) -> Result<T> {
    // Whatever stands in the place of a file must not hold us up.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = || Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?));
    let mut bytes = Vec::new();
    let read = |file: File| file.take(LONGEST as u64 + 1).read_to_end(&mut bytes);
    open().and_then(read).with_context(|| format!("cannot read {}", path.display()))?;
    decode(&bytes, path)
}

/// The record that these bytes of the file `path` are.
pub(super) fn decode<T: DeserializeOwned + Sound>(bytes: &[u8], path: &Path) -> Result<T> {
    #[derive(Deserialize)]
    struct Header {
        version: u32,
    }
    let damaged = |why: &str| {
        let what = format!("{} is damaged: {why}", path.display());
        Failure::new(Code::Integrity, what).hint("offshoot doctor")
    };
    if bytes.len() > LONGEST {
        return Err(damaged("it is longer than any record").into());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
    let Header { version } = toml::from_str(text).map_err(|error| damaged(error.message()))?;
    if version > RECORD_VERSION {
        let what = format!("{} is of version {version}, newer than this program", path.display());
        return Err(Failure::new(Code::Failed, what).hint("a newer offshoot").into());
    }
    let record: T = toml::from_str(text).map_err(|error| damaged(error.message()))?;
    record.check().map_err(|why| damaged(&why))?;
    Ok(record)
}

/// Refuses to go on with an image or a VM that the inventory has, and whose directory is gone.
///
/// # Errors
/// It is; a repair may know where to.
pub fn refuse_missing(dir: &Path) -> Result<()> {
    match dir.try_exists() {
        Ok(false) => {
            let what = format!("{} is gone, or its removal was broken off", dir.display());
            Err(Failure::new(Code::Integrity, what).hint("offshoot doctor --fix").into())
        }
        _ => Ok(()),
    }
}
