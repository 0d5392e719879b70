//! The block device (spec 5.2): request queues in front of a [`blockdev::Disk`].
//!
//! ```text
//!   queue 0 ── thread ── Disk ┐
//!   queue 1 ── thread ── Disk ┼─ one Stack         chain ─► request ─► Op ─► Done ─► status
//!   queue n ── thread ── Disk ┘
//! ```
//!
//! Data moves between guest memory and the disk without a copy; of a request only its header and
//! the ranges of a discard are read here.

use std::mem;

use blockdev::Disk;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_MQ,
    VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_TOPOLOGY,
    VIRTIO_BLK_F_WRITE_ZEROES,
};
use zerocopy::IntoBytes;

use super::queue::Queue;
use super::worker::Stop;
use super::{Active, DeviceKind, Result, VirtioDevice};
use config::Config;
use queues::{Backing, KeptByQueue};

mod buffers;
mod config;
mod pending;
mod queues;
mod request;
mod serve;

/// Entries of each queue.
const QUEUE_SIZE: u16 = 256;

/// What the guest sees of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What GET_ID answers: the first 20 bytes of it, which Linux shows as the disk's serial.
    pub id: String,
    /// Its length in bytes; what is left over of the last 512 is not shown.
    pub size: u64,
    /// Whether writes are refused.
    pub read_only: bool,
    /// How many request queues, at least 1; each has a thread and a [`Disk`] of its own while
    /// the driver uses it.
    pub queues: u16,
}

/// Makes a queue's [`Disk`], when its driver is ready.
pub type OpenDisk = Box<dyn Fn() -> blockdev::Result<Box<dyn Disk>> + Send + Sync>;

/// Told why a request found no room on the host, whenever one does; called by the threads that
/// serve the queues.
pub type OnFull = Box<dyn Fn(&blockdev::Error) + Send + Sync>;

/// A disk for the guest.
pub struct Device {
    features: u64,
    queue_sizes: Vec<u16>,
    config: Config,
    backing: Backing,
    /// What found no room before the last pause.
    kept: KeptByQueue,
}

impl Device {
    /// A disk that looks as `settings` say, with its bytes behind `open`.
    #[must_use]
    pub fn new(settings: Settings, open: OpenDisk) -> Self {
        let queues = settings.queues.max(1);
        Device {
            features: features(settings.read_only, queues),
            queue_sizes: vec![QUEUE_SIZE; queues.into()],
            config: Config::new(settings.size, queues),
            backing: Backing { settings, open, on_full: None },
            kept: KeptByQueue::new(),
        }
    }

    /// The same, but a request for which the host has no room is neither answered nor lost:
    /// `on_full` is told, and the request is tried again when the device goes on after a
    /// [pause](super::mmio::Transport::pause). Without this it is an I/O error for the guest.
    #[must_use]
    pub fn keeping_what_finds_no_room(mut self, on_full: OnFull) -> Self {
        self.backing.on_full = Some(on_full);
        self
    }
}

fn features(read_only: bool, queues: u16) -> u64 {
    let mut bits = vec![
        VIRTIO_BLK_F_SIZE_MAX,
        VIRTIO_BLK_F_SEG_MAX,
        VIRTIO_BLK_F_BLK_SIZE,
        VIRTIO_BLK_F_TOPOLOGY,
        VIRTIO_BLK_F_FLUSH,
    ];
    if read_only {
        bits.push(VIRTIO_BLK_F_RO);
    } else {
        bits.extend([VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES]);
    }
    if queues > 1 {
        bits.push(VIRTIO_BLK_F_MQ);
    }
    bits.into_iter().fold(0, |features, bit| features | 1 << bit)
}

impl VirtioDevice for Device {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Block
    }

    fn name(&self) -> &str {
        "virtio-blk"
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn config(&self) -> &[u8] {
        self.config.as_bytes()
    }

    fn refresh(&mut self) {
        // A disk that cannot be opened is the queues' to complain of.
        if let Ok(disk) = (self.backing.open)() {
            let settings = &mut self.backing.settings;
            settings.size = disk.size();
            self.config = Config::new(settings.size, settings.queues.max(1));
        }
    }

    fn serve(&mut self, queues: &mut [Queue], guest: &Active, stop: &Stop) -> Result<()> {
        let kept = mem::take(&mut self.kept);
        self.kept = self.backing.serve_queues(queues, kept, guest, stop);
        Ok(())
    }

    fn reset(&mut self) {
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests;
