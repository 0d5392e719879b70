//! What can be wrong with a spec.

/// Why a spec cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something in it is wrong, here.
    #[error("line {line}, column {column}: {what}")]
    At {
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// What is wrong.
        what: String,
    },
    /// The file is too long.
    #[error("it has {bytes} bytes; {most} are the most")]
    Long {
        /// What it has.
        bytes: usize,
        /// What it may have.
        most: usize,
    },
    /// What it makes is too large a disk.
    #[error("the files and commands in it make a disk of {bytes} bytes; {most} are the most")]
    Large {
        /// What they are together.
        bytes: usize,
        /// What they may be.
        most: usize,
    },
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
