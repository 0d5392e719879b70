//! The virtio-mmio transport (spec 4.2): what a vmm puts on its bus for each virtio device.
//!
//! The registers are a plain value in `registers`; this is the shell that
//! acts on what they say. Where the device is, is the transport's state:
//!
//! ```text
//!            DRIVER_OK              pause
//!   Idle ─────────────► Running ◄─────────► Paused
//!    ▲      (worker)       │       resume      │
//!    └─────────────────────┴───────────────────┘  reset
//! ```

use std::io;
use std::ops::Range;
use std::sync::Arc;

use virtio_bindings::virtio_config::{VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_VERSION_1};
use virtio_bindings::virtio_mmio::{
    VIRTIO_MMIO_CONFIG, VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_STATUS,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::interrupt::Interrupt;
use super::queue::Queue;
use super::registers::{Action, Registers};
use super::worker::{Served, Worker};
use super::{Active, GuestMemory, Result, VirtioDevice};
use crate::bus::{BusDevice, Effect};
use crate::irq::Irq;

/// Bytes of guest-physical address space a transport takes.
pub const WINDOW: u64 = 0x1000;

/// Where in the window the driver writes a queue's number to notify it: an ioeventfd of 4 bytes
/// here, matching that number, fires the queue's event without an exit to the vmm.
pub const QUEUE_NOTIFY: u64 = 0x50;

/// The features every device here has by its rings and transport.
pub const COMMON_FEATURES: u64 =
    1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_INDIRECT_DESC | 1 << VIRTIO_RING_F_EVENT_IDX;

/// A virtio device on the bus.
///
/// Dropping it stops and joins the device's threads, when what they have in flight has finished.
pub struct Transport {
    registers: Registers,
    state: State,
    /// A copy, to be read while the device is away.
    config: Vec<u8>,
    memory: Arc<GuestMemory>,
    interrupt: Arc<Interrupt>,
    events: Vec<Arc<EventFd>>,
}

enum State {
    /// Reset, or being set up by its driver.
    Idle(Box<dyn VirtioDevice>),
    /// Serving its queues.
    Running(Worker),
    /// Taken out of service by [`Transport::pause`], with what its driver gave it.
    Paused(Served),
    /// On its way from one state to another; for good if its worker panicked.
    Gone,
}

impl Transport {
    /// Puts `device` behind registers; it will serve requests in `memory` and interrupt by `irq`.
    ///
    /// # Errors
    /// The process is out of file descriptors.
    pub fn new(
        memory: Arc<GuestMemory>,
        device: Box<dyn VirtioDevice>,
        irq: Arc<dyn Irq>,
    ) -> io::Result<Self> {
        let features = device.features() | COMMON_FEATURES;
        let event = |_| EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map(Arc::new);
        Ok(Transport {
            registers: Registers::new(device.kind(), features, device.queue_sizes()),
            config: device.config().to_vec(),
            memory,
            interrupt: Arc::new(Interrupt::new(device.name(), irq)),
            events: device.queue_sizes().iter().map(event).collect::<io::Result<_>>()?,
            state: State::Idle(device),
        })
    }

    /// One event for each queue, by its number, to be fired when the driver writes that number to
    /// [`QUEUE_NOTIFY`]. They stay the same for the transport's life.
    #[must_use]
    pub fn queue_events(&self) -> &[Arc<EventFd>] {
        &self.events
    }

    /// Takes the device out of service: returns when nothing of it is in flight, and until
    /// [`resume`](Self::resume) it touches neither guest memory nor its disk. The vCPUs must be
    /// stopped before. Does nothing to a device that is not running.
    pub fn pause(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Gone) {
            State::Running(worker) => worker.stop().map_or(State::Gone, State::Paused),
            other => other,
        };
    }

    /// Puts a paused device back into service, with whatever the driver made available meanwhile.
    pub fn resume(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Gone) {
            State::Paused(served) => self.start(served),
            other => other,
        };
    }

    /// Has the device look again at what is behind it, and tells its driver when it looks another
    /// way than before (spec 2.5.1, 4.2.2.1). Does nothing to one that is running.
    pub fn refresh(&mut self) {
        let (device, is_used) = match &mut self.state {
            State::Idle(device) => (device, false),
            State::Paused(served) => (&mut served.device, true),
            State::Running(_) | State::Gone => return,
        };
        device.refresh();
        if device.config() == self.config {
            return;
        }
        self.config = device.config().to_vec();
        self.registers.reconfigured();
        if is_used {
            self.interrupt.config_changed();
        }
    }

    fn reset(&mut self) {
        self.pause();
        self.state = match std::mem::replace(&mut self.state, State::Gone) {
            State::Paused(mut served) => {
                served.device.reset();
                State::Idle(served.device)
            }
            other => other,
        };
        self.interrupt.reset();
    }

    /// The driver is ready.
    fn activate(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Gone) {
            State::Idle(device) => match self.queues() {
                Ok(queues) => self.start(Served { device, queues }),
                Err(error) => {
                    self.interrupt.needs_reset(&error);
                    State::Idle(device)
                }
            },
            other => other,
        };
    }

    fn start(&self, served: Served) -> State {
        let guest = Active {
            memory: self.memory.clone(),
            features: self.registers.features(),
            interrupt: self.interrupt.clone(),
        };
        match Worker::start(served, guest) {
            Ok(worker) => State::Running(worker),
            Err((served, error)) => {
                self.interrupt.needs_reset(&error);
                State::Paused(served)
            }
        }
    }

    /// The queues the driver has set up.
    fn queues(&self) -> Result<Vec<Queue>> {
        let event_idx = self.registers.features() & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
        let numbered = (0..).zip(self.registers.queues()).zip(&self.events);
        numbered
            .filter(|((_, state), _)| state.ready)
            .map(|((index, &state), kick)| {
                let state = virtio_queue::QueueState { event_idx_enabled: event_idx, ..state };
                Queue::new(index, state, self.memory.clone(), kick.clone())
            })
            .collect()
    }

    fn read_register(&self, offset: u32) -> u32 {
        match offset {
            VIRTIO_MMIO_INTERRUPT_STATUS => self.interrupt.status(),
            VIRTIO_MMIO_STATUS if self.interrupt.is_reset_needed() => {
                self.registers.status() | VIRTIO_CONFIG_S_NEEDS_RESET
            }
            VIRTIO_MMIO_STATUS => self.registers.status(),
            _ => self.registers.read(offset),
        }
    }

    fn write_register(&mut self, offset: u32, value: u32) {
        match self.registers.write(offset, value) {
            Action::None => {}
            Action::Reset => self.reset(),
            Action::Activate => self.activate(),
            Action::Acknowledge(bits) => self.interrupt.acknowledge(bits),
            Action::Notify(queue) => {
                if let Some(event) = usize::try_from(queue).ok().and_then(|i| self.events.get(i)) {
                    // A full counter is readable, which is all that is wanted.
                    let _ = event.write(1);
                }
            }
        }
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let rest = usize::try_from(offset).ok().and_then(|offset| self.config.get(offset..));
        for (byte, &value) in data.iter_mut().zip(rest.unwrap_or_default()) {
            *byte = value;
        }
    }
}

/// The control registers; they take aligned accesses of 4 bytes and no others (spec 4.2.2.2).
const REGISTERS: Range<u64> = 0..VIRTIO_MMIO_CONFIG as u64;

impl BusDevice for Transport {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        match (<&mut [u8; 4]>::try_from(&mut *data), u32::try_from(offset)) {
            _ if !REGISTERS.contains(&offset) => {
                self.read_config(offset - REGISTERS.end, data);
            }
            (Ok(word), Ok(offset)) if offset % 4 == 0 => {
                *word = self.read_register(offset).to_le_bytes();
            }
            _ => data.fill(0),
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        // No device here has a configuration that its driver may write.
        if let (Ok(&word), Ok(offset)) = (<&[u8; 4]>::try_from(data), u32::try_from(offset))
            && offset % 4 == 0
            && REGISTERS.contains(&offset.into())
        {
            self.write_register(offset, u32::from_le_bytes(word));
        }
        Effect::None
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.pause();
    }
}

#[cfg(test)]
mod tests;
