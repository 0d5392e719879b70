//! What can go wrong with a sealed file.

use std::io;
use std::path::{Path, PathBuf};

use crate::ErrorKind;

/// The result of everything about sealed files.
pub type Result<T> = std::result::Result<T, Error>;

/// What was attempted, on which file, and why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read {} at byte {at}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Where in the file, in bytes.
        at: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("cannot write {} at byte {at}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Where in the file, in bytes.
        at: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is not a sealed file: it does not begin with OFFSEALD", path.display())]
    NotSealed {
        /// The file.
        path: PathBuf,
    },
    /// The file is well-formed, but not for this version.
    #[error("{} was made by a newer version: {what}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// What is not known here.
        what: String,
    },
    /// The file's bytes contradict themselves.
    #[error("{} is damaged at byte {at}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file the part begins that is wrong, in bytes.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// The file has been cut off.
    #[error("{} is truncated: it ends in {what}, which begins at byte {at}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where in the file the part begins that is not whole, in bytes.
        at: u64,
        /// Which part.
        what: &'static str,
    },
    /// More settings than a file holds.
    #[error("settings of {len} bytes are more than a sealed file holds")]
    Settings {
        /// Their length in bytes.
        len: usize,
    },
    /// The compressor failed.
    #[error("cannot compress for {}", path.display())]
    Compress {
        /// The file to be written.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The delta that is sealed, or made, failed.
    #[error(transparent)]
    Disk(#[from] crate::Error),
}

impl Error {
    /// What sort of error this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Read { source, .. } | Error::Write { source, .. } => {
                crate::error::kind_of(source)
            }
            Error::NotSealed { .. } | Error::Damaged { .. } | Error::Truncated { .. } => {
                ErrorKind::Integrity
            }
            Error::Newer { .. } => ErrorKind::Unsupported,
            Error::Settings { .. } => ErrorKind::Invalid,
            Error::Compress { .. } => ErrorKind::Io,
            Error::Disk(error) => error.kind(),
        }
    }

    /// What a person may try next, as a sentence without its full stop.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Error::Damaged { .. } | Error::Truncated { .. } => Some("send the file once more"),
            Error::NotSealed { .. } => Some("offshoot export writes such files"),
            Error::Newer { .. } => Some("use the version it was made by, or a later one"),
            Error::Disk(error) => error.advice(),
            _ if self.kind() == ErrorKind::NoSpace => Some("make room on that filesystem"),
            _ => None,
        }
    }

    /// For `map_err` after reading `path`.
    pub(super) fn read(path: &Path, at: u64) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Read { path: path.into(), at, source }
    }

    /// For `map_err` after writing `path`.
    pub(super) fn write(path: &Path, at: u64) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Write { path: path.into(), at, source }
    }
}
