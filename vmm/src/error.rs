//! What can go wrong with a machine.

use std::io;

use blockdev::ErrorKind;
use vm_memory::GuestMemoryError;

use crate::{boot, kvm, layout, memory};

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// What was attempted, and why it failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host has no KVM that can be used.
    #[error(transparent)]
    Kvm(#[from] kvm::Error),
    /// KVM refused a call it should have taken.
    #[error("KVM refused to {attempt}")]
    Call {
        /// What it was asked for.
        attempt: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// The spec asks for a number of vCPUs that cannot be had.
    #[error("a machine has 1 to {max} vCPUs on this host, not {asked}")]
    Cpus {
        /// How many were asked for.
        asked: u16,
        /// How many this host allows.
        max: u16,
    },
    /// The spec asks for more virtio devices than there is room for.
    #[error(
        "a machine has room for {} virtio devices, one of them its random number generator",
        layout::MAX_VIRTIO
    )]
    Devices,
    /// Guest memory cannot be had.
    #[error(transparent)]
    Memory(#[from] memory::Error),
    /// Kernel, initrd, command line or tables cannot be put into memory.
    #[error(transparent)]
    Boot(Box<boot::Error>),
    /// The first vCPU's tables cannot be put into memory.
    #[error("cannot write page tables to guest memory")]
    Tables(#[from] GuestMemoryError),
    /// A disk cannot be opened, or its last writes cannot be stored.
    #[error("cannot use disk vd{letter}")]
    Disk {
        /// The first is `a`, as Linux names them.
        letter: char,
        /// Why.
        source: blockdev::Error,
    },
    /// One operation on a disk's layers at a time.
    #[error("an operation on the disk's layers is under way")]
    LayersBusy,
    /// What was asked for is about a disk.
    #[error("the machine has no disk")]
    NoDisk,
    /// A device cannot be made or used.
    #[error("cannot set up {name}")]
    Device {
        /// Which.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// Two devices claim the same addresses.
    #[error("cannot place a device")]
    Bus(#[from] devices::bus::Error),
    /// The system refused something else the machine needs.
    #[error("cannot {attempt}")]
    Host {
        /// What was attempted.
        attempt: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl From<boot::Error> for Error {
    fn from(error: boot::Error) -> Error {
        Error::Boot(Box::new(error))
    }
}

impl Error {
    /// What sort of error this is, for those who asked for what failed.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Disk { source, .. } => kind(source),
            Error::LayersBusy => ErrorKind::Busy,
            Error::Cpus { .. } | Error::Devices | Error::NoDisk => ErrorKind::Invalid,
            _ => ErrorKind::Io,
        }
    }

    /// What a person may try next, as a sentence without its full stop.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Error::Disk { source, .. } => source.advice(),
            Error::LayersBusy => Some("wait for it to end"),
            _ => None,
        }
    }

    /// Names the device an I/O error came from.
    pub(crate) fn device(name: &str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Device { name: name.to_owned(), source }
    }

    /// Names what was attempted when an I/O error came.
    pub(crate) fn host(attempt: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Host { attempt, source }
    }
}

/// What sort of error a disk's is: where it takes no more writes, the first one's.
pub(crate) fn kind(error: &blockdev::Error) -> ErrorKind {
    match error {
        blockdev::Error::Failed { source, .. } => source.kind(),
        error => error.kind(),
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Names what was asked of KVM when it refuses.
pub(crate) trait Attempt<T> {
    /// Turns the errno into an [`Error::Call`].
    fn or_refused(self, attempt: &'static str) -> Result<T>;
}

impl<T> Attempt<T> for std::result::Result<T, kvm_ioctls::Error> {
    fn or_refused(self, attempt: &'static str) -> Result<T> {
        self.map_err(|errno| Error::Call { attempt, source: errno.into() })
    }
}
