//! A split virtqueue (spec 2.7) as the worker that serves it sees it.
//!
//! virtio-queue's ring arithmetic, and around it what it leaves open: every inconsistency is an
//! error instead of a log line and silence, and a driver that asks for no interrupts gets none.
//! At most as many chains as the queue has entries are ever outstanding.

use std::num::Wrapping;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{QueueOwnedT, QueueState, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};
use vmm_sys_util::eventfd::EventFd;

use super::chain::Chain;
use super::{Error, GuestMemory, Result};

/// A virtqueue that its driver has set up.
pub struct Queue {
    index: u16,
    ring: virtio_queue::Queue,
    memory: Arc<GuestMemory>,
    kick: Arc<EventFd>,
}

impl Queue {
    /// Queue number `index`, as the driver set it up; `kick` is what its notifications fire.
    ///
    /// # Errors
    /// The size is no power of two or too large, an address is misaligned, or a ring does not lie
    /// in memory.
    pub fn new(
        index: u16,
        state: QueueState,
        memory: Arc<GuestMemory>,
        kick: Arc<EventFd>,
    ) -> Result<Self> {
        let wrong = |source| Error::Setup { queue: index, source };
        let ring = virtio_queue::Queue::try_from(state).map_err(|error| wrong(Some(error)))?;
        let size = usize::from(state.size);
        // Descriptors of 16 bytes; entries of 2 and 8 behind flags and index, before an event.
        let rings = [
            (state.desc_table, 16 * size),
            (state.avail_ring, 6 + 2 * size),
            (state.used_ring, 6 + 8 * size),
        ];
        let in_memory =
            rings.iter().all(|&(start, len)| memory.check_range(GuestAddress(start), len));
        if !in_memory {
            return Err(wrong(None));
        }
        Ok(Queue { index, ring, memory, kick })
    }

    /// Its number in the device.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// How many descriptors it has, and how many chains can be outstanding.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.ring.size()
    }

    /// Where in the available ring the next chain is taken from.
    #[must_use]
    pub fn next_available(&self) -> u16 {
        self.ring.next_avail()
    }

    /// Takes the next available chain.
    ///
    /// # Errors
    /// The ring or the chain is broken.
    pub fn pop(&mut self) -> Result<Option<Chain>> {
        let memory = &*self.memory;
        let queue = self.index;
        let broken = |source| Error::AvailableRing { queue, source };
        let available = self.ring.avail_idx(memory, Ordering::Acquire).map_err(broken)?;
        if available.0 == self.ring.next_avail() {
            return Ok(None);
        }
        // More than the ring holds: the index jumped, or chains were offered again before we
        // returned them.
        if (available - Wrapping(self.ring.next_used())).0 > self.ring.size() {
            return Err(broken(virtio_queue::Error::InvalidAvailRingIndex));
        }
        let limit = self.ring.max_size();
        let Some(descriptors) = self.ring.iter(memory).map_err(broken)?.next() else {
            return Err(broken(virtio_queue::Error::InvalidAvailRingIndex));
        };
        let head = descriptors.head_index();
        let chain = Chain::collect(descriptors, limit);
        chain.map(Some).map_err(|why| Error::Chain { queue, head, why })
    }

    /// Returns the chain that began at `head`, of which the first `written` writable bytes were
    /// written.
    ///
    /// # Errors
    /// The used ring cannot be written.
    pub fn push(&mut self, head: u16, written: u32) -> Result<()> {
        self.ring
            .add_used(&*self.memory, head, written)
            .map_err(|source| Error::UsedRing { queue: self.index, source })
    }

    /// Whether the driver wants an interrupt for the chains pushed since this was last asked.
    /// Ask only when there are any.
    ///
    /// # Errors
    /// The available ring cannot be read.
    pub fn wants_interrupt(&mut self) -> Result<bool> {
        let wanted = if self.ring.event_idx_enabled() {
            self.ring.needs_notification(&*self.memory)
        } else {
            // The used index must be out before the driver's wish is read (spec 2.7.7.2).
            fence(Ordering::SeqCst);
            self.memory
                .load::<u16>(GuestAddress(self.ring.avail_ring()), Ordering::Relaxed)
                .map(|flags| u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT == 0)
                .map_err(virtio_queue::Error::GuestMemory)
        };
        wanted.map_err(|source| Error::AvailableRing { queue: self.index, source })
    }

    /// Asks the driver for notifications, before going to sleep. Returns whether more became
    /// available meanwhile: then there may be no notification for it.
    ///
    /// # Errors
    /// The rings cannot be accessed.
    pub fn enable_kicks(&mut self) -> Result<bool> {
        self.ring
            .enable_notification(&*self.memory)
            .map_err(|source| Error::UsedRing { queue: self.index, source })
    }

    /// Spares the driver notifications while the queue is being served, and takes in the one that
    /// may have woken us.
    ///
    /// # Errors
    /// The used ring cannot be written.
    pub fn disable_kicks(&mut self) -> Result<()> {
        let _ = self.kick.read(); // non-blocking: nothing there is as good
        self.ring
            .disable_notification(&*self.memory)
            .map_err(|source| Error::UsedRing { queue: self.index, source })
    }

    /// Readable when the driver has notified the queue.
    #[must_use]
    pub fn kick(&self) -> &EventFd {
        &self.kick
    }
}

#[cfg(test)]
mod tests;
