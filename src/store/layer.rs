//! Frozen layers: `layers/<uuid>/{delta,layer.toml,owners}`. What a layer stands on its delta's
//! header says; the record is for people.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use blockdev::ErrorKind;
use blockdev::copy::Watch;
use blockdev::delta::{self, Heading, Parent, State};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Store;
use super::home::{self, Home};
use super::name::Name;
use super::paths::{Paths, load};
use super::patience;
use super::sound::{self, Sound};
use super::time::Timestamp;
use crate::failure::{Code, Failure};

/// The file names in a layer's directory.
pub const DELTA: &str = "delta";
/// The merged owner map of the chain up to this layer: a cache.
pub const OWNERS: &str = "owners";
pub(super) const RECORD: &str = "layer.toml";
/// The note on snapshots that are made to read a VM that runs.
pub(super) const MOMENTARY: &str = "made to export the VM while it ran";

/// `layer.toml`: what people know a layer by.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Of this file's layout.
    pub version: u32,
    /// Of the delta; names the directory.
    pub uuid: Uuid,
    /// What the snapshot is called; absent where the layer was frozen for a clone.
    #[serde(default)]
    pub name: Option<Name>,
    /// The id of the VM it belongs to, which may be gone.
    pub vm: String,
    /// What that VM was called.
    pub origin: Name,
    /// When it was frozen.
    pub created: Timestamp,
    /// What people wrote about it.
    #[serde(default)]
    pub notes: String,
}

impl Record {
    /// Whether it is only a part of what the VM `id` wrote since its last snapshot: it was frozen so
    /// that others could stand on it or read it, or is a snapshot no more.
    pub(super) fn is_unsaved(&self, id: &str) -> bool {
        self.vm == id && (self.name.is_none() || self.is_momentary())
    }

    /// Whether it is a snapshot that an export made for itself, and did not come to remove.
    pub fn is_momentary(&self) -> bool {
        self.notes == MOMENTARY
    }
}

impl Sound for Record {
    fn check(&self) -> Result<(), String> {
        sound::id(&self.vm)?;
        sound::texts([&self.notes].into_iter())
    }
}

/// A layer in the store.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its directory.
    pub dir: PathBuf,
    /// What its delta's header says.
    pub heading: Heading,
}

impl Layer {
    /// What stands on it from now on, stands on this.
    ///
    /// # Errors
    /// A VM's changes are being merged into it: it is neither what it was nor what it will be.
    pub fn as_parent(&self) -> Result<Parent> {
        match self.heading.state {
            State::Absorbing(_) => Err(Failure::in_use("a commit into it has not ended")
                .hint("wait for it, or begin it again: offshoot commit")
                .into()),
            State::Live | State::Frozen | State::Absorbed(_) => Ok(self.heading.as_parent()),
        }
    }

    /// Its delta.
    pub fn delta(&self) -> PathBuf {
        home::file(&self.dir.join(DELTA))
    }

    /// Where the owner map of the chain up to it is kept.
    pub fn owners(&self) -> PathBuf {
        self.dir.join(OWNERS)
    }

    /// What people know it by.
    ///
    /// # Errors
    /// The record is missing or damaged.
    pub fn record(&self) -> Result<Record> {
        load(&self.dir.join(RECORD))
    }
}

impl Store {
    /// The frozen layer of this uuid.
    ///
    /// # Errors
    /// It is missing, damaged, or another one.
    pub fn layer(&self, uuid: Uuid) -> Result<Layer> {
        let dir = self.paths.layer(uuid);
        let path = dir.join(DELTA);
        let heading = own_heading(&path)?;
        if heading.uuid != uuid {
            let what = format!("{} is layer {}, not {uuid}", path.display(), heading.uuid);
            return Err(Failure::new(Code::Integrity, what).hint("offshoot doctor").into());
        }
        Ok(Layer { dir, heading })
    }
}

/// What the header of the delta with this entry says. That there is none is damage, not a wrong
/// name.
///
/// # Errors
/// It is missing, damaged, or of a newer version; or where it is, is not there now.
pub fn own_heading(entry: &Path) -> Result<Heading> {
    let error = match delta::heading(&home::file(entry)) {
        Ok(heading) => return Ok(heading),
        Err(error) => error,
    };
    Home::of(entry).refuse_away()?;
    Err(match error.kind() {
        ErrorKind::NotFound => {
            let what = Failure::new(Code::Integrity, "a layer is missing").hint("offshoot doctor");
            anyhow::Error::new(error).context(what)
        }
        _ => error.into(),
    })
}

/// Held by the one process that changes which layers there are, or which stands on which.
pub struct Alone {
    _layers: File,
}

impl Alone {
    /// Waits until nobody else does.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn enter(paths: &Paths) -> Result<Alone> {
        let path = paths.layers();
        let layers =
            File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let lock = |how| rustix::io::retry_on_intr(|| rustix::fs::flock(&layers, how));
        let locked = match lock(FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                patience::tell_while(&layers, || lock(FlockOperation::LockExclusive))
            }
            at_once => at_once,
        };
        locked.context("cannot lock layers/")?;
        Ok(Alone { _layers: layers })
    }
}

/// Held by the one process that gives a delta a frozen layer as its parent that has others already.
/// It lasts, and keeps only its like waiting: two at a time could each take away what the other is
/// about to stand on.
pub struct Merging {
    _root: File,
}

impl Merging {
    /// How long between two looks at whether another one is done.
    const GLANCE: Duration = Duration::from_millis(50);

    /// Waits until nobody else does, or `watch` breaks it off.
    ///
    /// # Errors
    /// It was broken off, or the system refuses.
    pub fn enter(paths: &Paths, watch: Watch<'_>) -> Result<Merging> {
        let root = File::open(paths.root()).context("cannot open the store")?;
        if !lock_now(&root)? {
            patience::tell_while(&root, || {
                while !lock_now(&root)? {
                    if watch(0, 0).is_break() {
                        return Err(anyhow::Error::from(blockdev::Error::Interrupted));
                    }
                    std::thread::sleep(Merging::GLANCE);
                }
                Ok(())
            })?;
        }
        Ok(Merging { _root: root })
    }
}

/// Takes the store's lock, where nobody has it.
fn lock_now(root: &File) -> Result<bool> {
    match rustix::fs::flock(root, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
        Err(error) => Err(error).context("cannot lock the store"),
    }
}

/// Makes a file's content durable, whoever wrote it.
///
/// # Errors
/// It cannot be opened, or the filesystem refuses.
pub(super) fn sync_file(path: &Path) -> Result<()> {
    let sync = || File::open(path)?.sync_all();
    sync().with_context(|| format!("cannot sync {}", path.display()))
}
