//! Why a filesystem or what it holds cannot be used.

use std::io;

/// What was attempted on a filesystem in an image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image itself cannot be read, or is shorter than what is on it says.
    #[error("cannot read the image")]
    Read(#[source] io::Error),
    /// Damage, or a feature that is not known here.
    #[error("cannot read its ext4 filesystem: {0}")]
    Ext4(String),
    /// Damage.
    #[error("cannot read its FAT filesystem: {0}")]
    Fat(&'static str),
    /// A folder with more than anybody puts there.
    #[error("{0} is too large a folder")]
    Folder(String),
    /// A circle, most likely.
    #[error("too many symbolic links on the way to {0}")]
    Links(String),
    /// Longer than a kernel, an initial ramdisk or a setting can be.
    #[error("{path} has {len} bytes, and more than {limit} is taken for damage")]
    Large {
        /// The file.
        path: String,
        /// Its length, bytes.
        len: u64,
        /// The most that is read.
        limit: u64,
    },
    /// There is none, or it is no regular file.
    #[error("there is no file {0}")]
    Missing(String),
    /// The copy cannot be written.
    #[error("cannot write the copy of {path}")]
    Write {
        /// The file on the image.
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
