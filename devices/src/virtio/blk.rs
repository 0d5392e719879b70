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

use std::thread;

use blockdev::Disk;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_MQ,
    VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_TOPOLOGY,
    VIRTIO_BLK_F_WRITE_ZEROES,
};
use zerocopy::IntoBytes;

use super::queue::Queue;
use super::worker::{STACK_SIZE, Stop};
use super::{Active, DeviceKind, Error, Result, VirtioDevice};
use config::Config;
use request::{ID_LEN, Terms};

mod buffers;
mod config;
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

/// A disk for the guest.
pub struct Device {
    settings: Settings,
    features: u64,
    queue_sizes: Vec<u16>,
    config: Config,
    open: OpenDisk,
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
            settings,
            open,
        }
    }

    fn terms(&self, guest: &Active) -> Terms {
        let size = self.settings.size & !511;
        let mut id = [0; ID_LEN];
        for (byte, &value) in id.iter_mut().zip(self.settings.id.as_bytes()) {
            *byte = value;
        }
        Terms {
            size,
            read_only: self.settings.read_only,
            discard: guest.has(VIRTIO_BLK_F_DISCARD),
            write_zeroes: guest.has(VIRTIO_BLK_F_WRITE_ZEROES),
            write_through: !guest.has(VIRTIO_BLK_F_FLUSH),
            id,
        }
    }

    /// Serves one queue until `stop`; what goes wrong with it, its driver is told at once, while
    /// the other queues go on.
    fn serve_queue(&self, queue: &mut Queue, guest: &Active, stop: &Stop) {
        let disk = match (self.open)() {
            Ok(disk) => disk,
            Err(error) => return guest.interrupt.needs_reset(&Error::Disk(error.into())),
        };
        serve::Server::new(queue, disk, guest, self.terms(guest)).run(stop);
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

    fn serve(&mut self, queues: &mut [Queue], guest: &Active, stop: &Stop) -> Result<()> {
        let Some((first, rest)) = queues.split_first_mut() else { return Ok(()) };
        let device = &*self;
        thread::scope(|scope| {
            for queue in rest {
                let name = format!("virtio-blk q{}", queue.index());
                let started = thread::Builder::new()
                    .name(name)
                    .stack_size(STACK_SIZE)
                    .spawn_scoped(scope, || device.serve_queue(queue, guest, stop));
                if let Err(error) = started {
                    guest.interrupt.needs_reset(&Error::Thread(error));
                }
            }
            device.serve_queue(first, guest, stop);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
