//! Virtio 1.2 over MMIO: split virtqueues, the transport, and the devices.
//!
//! ```text
//!   registers   the transport's chip: values in, values out, no locks, no files
//!   mmio        the shell around it: device, workers, events; what the vmm puts on its bus
//!   worker      the thread a device is moved into while its driver is ready
//!   queue       a virtqueue as a worker sees it        chain   one request's memory
//!   interrupt   what a worker tells the driver
//!   rng, blk    devices
//! ```
//!
//! Everything a driver writes is hostile until checked: a request is read once, checked, then
//! used. A request that is wrong gets an error status; a ring that is wrong stops the device with
//! DEVICE_NEEDS_RESET.

use std::sync::Arc;

use crate::virtio::interrupt::Interrupt;
use crate::virtio::queue::Queue;
use crate::virtio::worker::Stop;

pub mod blk;
pub mod chain;
mod error;
pub mod interrupt;
pub mod mmio;
pub mod queue;
mod registers;
pub mod rng;
#[cfg(test)]
mod testing;
pub mod worker;

pub use error::{Error, Result};

/// Guest memory, as the whole machine uses it.
pub type GuestMemory = vm_memory::GuestMemoryMmap<()>;

/// Device types (spec 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DeviceKind {
    /// A disk.
    Block = 2,
    /// A source of random bytes.
    Entropy = 4,
}

/// A device behind the transport.
///
/// The transport holds it while the driver sets it up, and moves it into a thread of its own when
/// the driver is ready; from there it comes back, by value, on reset and on pause.
pub trait VirtioDevice: Send {
    /// What it is.
    fn kind(&self) -> DeviceKind;
    /// For threads and log lines: short.
    fn name(&self) -> &str;
    /// Feature bits it offers, besides those of every device here ([`mmio::COMMON_FEATURES`]).
    fn features(&self) -> u64;
    /// The largest size of each of its queues, powers of two.
    fn queue_sizes(&self) -> &[u16];
    /// Its configuration space, which only [`refresh`](VirtioDevice::refresh) changes.
    fn config(&self) -> &[u8];
    /// Looks again at what is behind it, which somebody has changed.
    fn refresh(&mut self) {}
    /// Serves `queues`, those the driver has set up, until `stop` is raised and nothing is in
    /// flight any more. Called again after a pause with the same queues, after a reset with
    /// others.
    ///
    /// # Errors
    /// A queue is broken, or the device cannot go on: the driver is told DEVICE_NEEDS_RESET.
    fn serve(&mut self, queues: &mut [Queue], guest: &Active, stop: &Stop) -> Result<()>;
    /// Forgets what its driver asked for; its queues are gone.
    fn reset(&mut self) {}
}

/// What a device is given while its driver is ready.
#[derive(Clone)]
pub struct Active {
    /// The guest's memory.
    pub memory: Arc<GuestMemory>,
    /// The feature bits driver and device agreed on.
    pub features: u64,
    /// The way to the driver.
    pub interrupt: Arc<Interrupt>,
}

impl Active {
    /// Whether feature bit number `bit` was agreed on.
    #[must_use]
    pub fn has(&self, bit: u32) -> bool {
        self.features & (1 << bit) != 0
    }
}
