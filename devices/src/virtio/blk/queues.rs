//! All queues of a disk at work: each has a thread and a [`blockdev::Disk`] of its own.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::thread;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_WRITE_ZEROES,
};

use super::request::{ID_LEN, Terms};
use super::serve::{Kept, Server};
use super::{OnFull, OpenDisk, Settings};
use crate::virtio::queue::Queue;
use crate::virtio::worker::{STACK_SIZE, Stop};
use crate::virtio::{Active, Error};

/// Requests that found no room, by the number of their queue.
pub(super) type KeptByQueue = BTreeMap<u16, Kept>;

/// What the queues share.
pub(super) struct Backing {
    pub settings: Settings,
    pub open: OpenDisk,
    pub on_full: Option<OnFull>,
}

impl Backing {
    /// Serves all `queues` until `stop`, beginning with what was `kept`; returns what is kept now.
    pub fn serve_queues(
        &self,
        queues: &mut [Queue],
        mut kept: KeptByQueue,
        guest: &Active,
        stop: &Stop,
    ) -> KeptByQueue {
        let Some((first, rest)) = queues.split_first_mut() else { return kept };
        thread::scope(|scope| {
            let mut threads = Vec::with_capacity(rest.len());
            for queue in rest {
                let index = queue.index();
                let ours = kept.remove(&index).unwrap_or_default();
                let started = thread::Builder::new()
                    .name(format!("virtio-blk q{index}"))
                    .stack_size(STACK_SIZE)
                    .spawn_scoped(scope, move || self.serve_queue(queue, ours, guest, stop));
                match started {
                    Ok(thread) => threads.push((index, thread)),
                    Err(error) => guest.interrupt.needs_reset(&Error::Thread(error)),
                }
            }
            let index = first.index();
            let ours = kept.remove(&index).unwrap_or_default();
            let ours = self.serve_queue(first, ours, guest, stop);
            let rest = threads.into_iter().map(|(index, thread)| {
                (index, thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            });
            rest.chain([(index, ours)]).collect()
        })
    }

    /// Serves one queue; what goes wrong with it, its driver is told at once, while the other
    /// queues go on.
    fn serve_queue(&self, queue: &mut Queue, kept: Kept, guest: &Active, stop: &Stop) -> Kept {
        let disk = match (self.open)() {
            Ok(disk) => disk,
            Err(error) => {
                guest.interrupt.needs_reset(&Error::Disk(error.into()));
                return Kept::new();
            }
        };
        let on_full = self.on_full.as_ref();
        Server::new(queue, disk, guest, self.terms(guest), on_full).run(kept, stop)
    }

    fn terms(&self, guest: &Active) -> Terms {
        let mut id = [0; ID_LEN];
        for (byte, &value) in id.iter_mut().zip(self.settings.id.as_bytes()) {
            *byte = value;
        }
        Terms {
            size: self.settings.size & !511,
            read_only: self.settings.read_only,
            discard: guest.has(VIRTIO_BLK_F_DISCARD),
            write_zeroes: guest.has(VIRTIO_BLK_F_WRITE_ZEROES),
            write_through: !guest.has(VIRTIO_BLK_F_FLUSH),
            id,
        }
    }
}
