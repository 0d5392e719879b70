//! Why a device stopped serving.

use std::io;

use vm_memory::GuestMemoryError;

/// The result of serving queues.
pub type Result<T> = std::result::Result<T, Error>;

/// A driver that broke its side of the contract, or a host that cannot keep ours.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A ring outside memory, of a wrong size, or misaligned.
    #[error("queue {queue} is set up wrongly")]
    Setup {
        /// Which queue.
        queue: u16,
        /// What is wrong with it; none where a ring is outside memory.
        source: Option<virtio_queue::Error>,
    },
    /// The available ring says what it cannot mean.
    #[error("the available ring of queue {queue} is broken")]
    AvailableRing {
        /// Which queue.
        queue: u16,
        /// What is wrong with it.
        source: virtio_queue::Error,
    },
    /// The used ring cannot be written.
    #[error("the used ring of queue {queue} is broken")]
    UsedRing {
        /// Which queue.
        queue: u16,
        /// What is wrong with it.
        source: virtio_queue::Error,
    },
    /// A descriptor chain without an end, or with descriptors where none may be.
    #[error("the descriptor chain at {head} in queue {queue} is broken: {why}")]
    Chain {
        /// Which queue.
        queue: u16,
        /// The chain's first descriptor.
        head: u16,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A request lies outside memory, and nowhere is a place to say so.
    #[error("a request lies outside guest memory")]
    Memory(#[from] GuestMemoryError),
    /// The disk's engine broke, or could not be made.
    #[error("the disk does not work")]
    Disk(#[source] Box<blockdev::Error>),
    /// The host refused a thread.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The host refused to wait for events.
    #[error("cannot wait for events")]
    Wait(#[source] io::Error),
    /// The host has no random bytes.
    #[error("cannot get random bytes")]
    Entropy(#[source] io::Error),
}
