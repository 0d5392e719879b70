//! What can go wrong with a disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller may want to tell apart. Other processes are told it by its word, which is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file is missing.
    NotFound,
    /// A file that was to be created is there already.
    Exists,
    /// Another process uses the file.
    Busy,
    /// A file is damaged, or not the one it must be.
    Integrity,
    /// The filesystem is full.
    NoSpace,
    /// Made by a newer version, or not to be had on this host.
    Unsupported,
    /// The caller asked for something that makes no sense.
    Invalid,
    /// A write to a read-only disk.
    ReadOnly,
    /// The caller broke it off.
    Interrupted,
    /// The system failed. What a later version tells apart is taken for this, too.
    #[serde(other)]
    Io,
}

/// What was attempted, on which file, and why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be created.
    #[error("cannot create {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("cannot read {} at byte {at}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Where in the file, in bytes.
        at: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {} at byte {at}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Where in the file, in bytes.
        at: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be made durable.
    #[error("cannot sync {}", path.display())]
    Sync {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier write or sync failed; see docs/delta-format.md, Writing, 5.
    #[error("{} takes no more writes after an error", path.display())]
    Failed {
        /// The delta.
        path: PathBuf,
        /// The error it failed with.
        source: Arc<Error>,
    },
    /// A directory, device, pipe or socket where a file must be.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What was found.
        path: PathBuf,
    },
    /// A delta in the way of a new file.
    #[error("{} is a layer of some disk, which is not replaced", path.display())]
    Layer {
        /// The delta.
        path: PathBuf,
    },
    /// Another process has the file open.
    #[error("{} is in use by another process", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// A layer that is to be changed, which others read.
    #[error("{} is being read by another process", path.display())]
    BeingRead {
        /// The layer.
        path: PathBuf,
    },
    /// A file that is no delta at all.
    #[error("{} is not a delta: it does not begin with OFFDELTA", path.display())]
    NotADelta {
        /// The file.
        path: PathBuf,
    },
    /// A delta this version must not touch.
    #[error("{} was made by a newer version: {what}", path.display())]
    Newer {
        /// The delta.
        path: PathBuf,
        /// What is not known here.
        what: String,
    },
    /// A delta whose bytes contradict themselves.
    #[error("{} is damaged at byte {at}: {what}", path.display())]
    Damaged {
        /// The delta.
        path: PathBuf,
        /// Where in the file, in bytes.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// A delta that has been cut off.
    #[error("{} is truncated: it has {len} bytes of at least {needed}", path.display())]
    Truncated {
        /// The delta.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
        /// The length it must have.
        needed: u64,
    },
    /// A delta made on top of something else.
    #[error(
        "{} was not made on {}: its parent's {what} is {expected}, not {found}",
        delta.display(), base.display()
    )]
    WrongParent {
        /// The delta.
        delta: PathBuf,
        /// The layer it was to be opened with.
        base: PathBuf,
        /// What differs.
        what: &'static str,
        /// What the delta says.
        expected: String,
        /// What the layer has.
        found: String,
    },
    /// A base that is not what was recorded of it.
    #[error(
        "base {} changed since it was imported: its {what} was {expected}, now it is {found}",
        path.display()
    )]
    BaseChanged {
        /// The base.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What was recorded.
        expected: String,
        /// What is there now.
        found: String,
    },
    /// A chain deeper than can be opened.
    #[error("{} stands on {layers} layers; at most {most} can be opened", path.display())]
    TooDeep {
        /// The top layer.
        path: PathBuf,
        /// How many there are.
        layers: usize,
        /// How many there may be.
        most: usize,
    },
    /// A stack of nothing.
    #[error("a disk needs at least one layer")]
    NoLayers,
    /// A frozen layer where a live one must be.
    #[error("{} is frozen: other layers may stand on it", path.display())]
    Frozen {
        /// The layer.
        path: PathBuf,
    },
    /// A delta that was to be new.
    #[error("{} has been written to already", path.display())]
    NotEmpty {
        /// The delta.
        path: PathBuf,
    },
    /// A live layer where a frozen one must be.
    #[error("{} is not frozen", path.display())]
    NotFrozen {
        /// The layer.
        path: PathBuf,
    },
    /// One operation on the layers at a time.
    #[error("another operation on the layers of {} is under way", path.display())]
    Changing {
        /// The top layer.
        path: PathBuf,
    },
    /// A layer that means nothing without a child.
    #[error("a merge of layer {child} into {} was begun and has not ended", path.display())]
    Absorbing {
        /// The layer.
        path: PathBuf,
        /// The child being merged into it.
        child: uuid::Uuid,
    },
    /// A delta's parent cannot be used.
    #[error("the delta {} cannot be used without its parent", delta.display())]
    Parent {
        /// The delta.
        delta: PathBuf,
        /// What is wrong with the parent.
        source: Box<Error>,
    },
    /// A disk size that cannot be.
    #[error("a disk of {size} bytes cannot be: {why}")]
    Size {
        /// The size asked for, in bytes.
        size: u64,
        /// Why not.
        why: &'static str,
    },
    /// Text that is no digest.
    #[error("{digest:?} is not a BLAKE3 digest in 64 hex digits")]
    Digest {
        /// The text.
        digest: String,
    },
    /// An operation outside the disk, or not in whole sectors.
    #[error("{len} bytes at {at} are not whole sectors of a disk of {size} bytes")]
    Range {
        /// Start of the range in bytes.
        at: u64,
        /// Length of the range in bytes.
        len: u64,
        /// The disk's size in bytes.
        size: u64,
    },
    /// A write to a read-only disk.
    #[error("the disk is read-only")]
    ReadOnly,
    /// A packed image that needs more than there is.
    #[error(
        "no room for {}: unpacked the image has {needed} bytes, and the filesystem {free} free",
        path.display()
    )]
    Room {
        /// The file that was to be written.
        path: PathBuf,
        /// What the image takes, in bytes.
        needed: u64,
        /// What there is, in bytes.
        free: u64,
    },
    /// A bitmap too large for this host's memory.
    #[error("no memory for the bitmap of {}", path.display())]
    Memory {
        /// The delta.
        path: PathBuf,
    },
    /// An image of another program, or a chain of such, that cannot be read.
    #[error(transparent)]
    Foreign(#[from] crate::foreign::Error),
    /// The caller asked to stop, and what was being made is gone.
    #[error("interrupted")]
    Interrupted,
    /// The host does not give what the engine needs.
    #[error("cannot set up {what}")]
    Engine {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// What sort of error this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Open { source, .. }
            | Error::Create { source, .. }
            | Error::Read { source, .. }
            | Error::Write { source, .. }
            | Error::Sync { source, .. } => kind_of(source),
            Error::Parent { source, .. } => source.kind(),
            Error::Busy { .. } | Error::BeingRead { .. } | Error::Changing { .. } => {
                ErrorKind::Busy
            }
            Error::NotADelta { .. }
            | Error::Damaged { .. }
            | Error::Truncated { .. }
            | Error::WrongParent { .. }
            | Error::Absorbing { .. }
            | Error::BaseChanged { .. } => ErrorKind::Integrity,
            Error::Newer { .. } | Error::Engine { .. } => ErrorKind::Unsupported,
            Error::NotAFile { .. }
            | Error::Layer { .. }
            | Error::TooDeep { .. }
            | Error::NoLayers
            | Error::NotEmpty { .. }
            | Error::Frozen { .. }
            | Error::NotFrozen { .. }
            | Error::Size { .. }
            | Error::Digest { .. }
            | Error::Range { .. } => ErrorKind::Invalid,
            Error::Room { .. } => ErrorKind::NoSpace,
            Error::ReadOnly => ErrorKind::ReadOnly,
            Error::Interrupted => ErrorKind::Interrupted,
            Error::Foreign(error) => error.kind(),
            Error::Failed { .. } | Error::Memory { .. } => ErrorKind::Io,
        }
    }

    /// What a person may try next, as a sentence without its full stop.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Error::Parent { source, .. } => return source.advice(),
            Error::Foreign(error) => return error.advice(),
            Error::Busy { .. } => "stop the machine that uses it first",
            Error::BeingRead { .. } => "wait until it is served or exported no more",
            Error::Newer { .. } => "use the version it was made by, or a later one",
            Error::NotADelta { .. } | Error::Damaged { .. } | Error::Truncated { .. } => {
                "the base is not affected; restore this file from a copy, or remove the clone"
            }
            Error::WrongParent { .. } => "open it with the layer it was made on",
            Error::TooDeep { .. } => "flatten a layer in the middle of the chain",
            Error::Absorbing { .. } => "finish the merge, or use the child",
            Error::Changing { .. } => "wait for it to end",
            Error::Layer { .. } => "write to another file; offshoot rm removes a VM's disk",
            Error::Frozen { .. } => "make a new delta on it",
            Error::BaseChanged { .. } => {
                "verify the image: when its content is still right, it can be used again"
            }
            Error::Failed { .. } => "look at the host's disk, then start the machine again",
            _ if self.kind() == ErrorKind::NoSpace => "make room on that filesystem",
            _ => return None,
        })
    }

    /// For `map_err` after opening `path`.
    pub(crate) fn open(path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Open { path: path.into(), source }
    }

    /// For `map_err` after creating `path`.
    pub(crate) fn create(path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Create { path: path.into(), source }
    }

    /// For `map_err` after reading `path`.
    pub(crate) fn read(path: &Path, at: u64) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Read { path: path.into(), at, source }
    }

    /// For `map_err` after writing `path`.
    pub(crate) fn write(path: &Path, at: u64) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Write { path: path.into(), at, source }
    }

    /// For `map_err` after syncing `path`.
    pub(crate) fn sync(path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Sync { path: path.into(), source }
    }
}

pub(crate) fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::Exists,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        _ => ErrorKind::Io,
    }
}
