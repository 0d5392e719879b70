//! Why an image of another program is not read.

use std::path::PathBuf;

use super::Format;
use crate::ErrorKind;

/// What is wrong with an image, or with the chain it is given in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No image at all.
    #[error("there is no image to read")]
    Empty,
    /// The bytes contradict themselves.
    #[error("{} is not a sound {format} image: {what} (at byte {at})", path.display())]
    Damaged {
        /// The image.
        path: PathBuf,
        /// Its format.
        format: Format,
        /// Where in the file, in bytes.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// A feature that is not read here.
    #[error("{} cannot be read: {what}", path.display())]
    Unsupported {
        /// The image.
        path: PathBuf,
        /// Which.
        what: String,
        /// What a person may do.
        advice: &'static str,
    },
    /// A file of a format that is not read here.
    #[error("{} looks like {format}, which is not read here", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: &'static str,
        /// What a person may do.
        advice: &'static str,
    },
    /// An image that needs another one below.
    #[error("{} holds only what differs from a backing file it calls {name:?}", path.display())]
    NoBacking {
        /// The image.
        path: PathBuf,
        /// What it says; never followed.
        name: String,
    },
    /// An image that needs none, but got one.
    #[error("{} has no backing file, but was given {}", path.display(), backing.display())]
    Unneeded {
        /// The image.
        path: PathBuf,
        /// What it was given.
        backing: PathBuf,
    },
    /// A backing file of another format than the image on it says.
    #[error("{} looks like {found}, but the image on it calls it {declared:?}", path.display())]
    Doubtful {
        /// The backing file.
        path: PathBuf,
        /// What its first bytes say.
        found: Format,
        /// What the image on it says.
        declared: String,
    },
}

impl Error {
    /// What sort of error this is.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Error::Damaged { .. } => ErrorKind::Integrity,
            Error::Unsupported { .. } | Error::Format { .. } => ErrorKind::Unsupported,
            Error::Empty
            | Error::NoBacking { .. }
            | Error::Unneeded { .. }
            | Error::Doubtful { .. } => ErrorKind::Invalid,
        }
    }

    /// What a person may try next.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Error::Unsupported { advice, .. } | Error::Format { advice, .. } => advice,
            Error::Damaged { .. } => "qemu-img check says more; get the image again, or repair it",
            Error::NoBacking { .. } => {
                "name it: --backing FILE, once for each image down the chain"
            }
            Error::Unneeded { .. } => "leave that --backing out",
            Error::Doubtful { .. } => "say which it is: --backing FILE:raw or --backing FILE:qcow2",
            Error::Empty => return None,
        })
    }
}
