//! What can go wrong with serving a disk.

use std::io;
use std::path::PathBuf;

use crate::nbd::Violation;

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// What was attempted, and why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The socket could not be made.
    #[error("cannot make the socket {}", path.display())]
    Listen {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another server answers there.
    #[error("another server listens on {}", path.display())]
    Busy {
        /// The socket's path.
        path: PathBuf,
    },
    /// Something else is in the socket's place.
    #[error("{} is there already and is no socket", path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// Waiting for clients failed.
    #[error("cannot wait for clients")]
    Wait(#[source] io::Error),
    /// A connection broke.
    #[error("the connection broke")]
    Connection(#[source] io::Error),
    /// A client did what the protocol forbids.
    #[error("the client broke the protocol")]
    Protocol(#[source] Violation),
    /// A vhost-user front end did what it may not.
    #[error("the front end broke the protocol")]
    FrontEnd(#[source] vhost::vhost_user::Error),
    /// The disk is of no further use.
    #[error("the disk failed")]
    Disk(#[source] blockdev::Error),
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Error::Protocol(violation)
    }
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
