//! The register file of virtio-mmio, version 2 (spec 4.2.2), and the device status machine (3.1).
//!
//! A plain value: a write changes it and says what the transport must do. It trusts nothing the
//! driver writes and needs nothing but itself; ring addresses are checked against memory when the
//! driver is ready, by [`Queue::new`](super::queue::Queue::new).

use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE as ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER as DRIVER,
    VIRTIO_CONFIG_S_DRIVER_OK as DRIVER_OK, VIRTIO_CONFIG_S_FAILED as FAILED,
    VIRTIO_CONFIG_S_FEATURES_OK as FEATURES_OK, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_mmio as reg;
use virtio_queue::QueueState;

use super::DeviceKind;

const MAGIC: u32 = u32::from_le_bytes(*b"virt");
const VERSION: u32 = 2;
const VENDOR: u32 = u32::from_le_bytes(*b"ofsh");

/// What a register write asks of the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    None,
    /// Take the device back from its driver; the registers are reset already.
    Reset,
    /// The driver is ready: start the device.
    Activate,
    /// Queue number so-and-so has something available.
    Notify(u32),
    /// Clear these bits of the interrupt status.
    Acknowledge(u32),
}

/// The registers of one device.
#[derive(Clone, Debug)]
pub(super) struct Registers {
    kind: DeviceKind,
    offered: u64,
    accepted: u64,
    device_features_sel: u32,
    driver_features_sel: u32,
    status: u32,
    queue_sel: u32,
    queues: Vec<QueueState>,
    config_generation: u32,
}

impl Registers {
    pub fn new(kind: DeviceKind, offered: u64, queue_sizes: &[u16]) -> Self {
        Registers {
            kind,
            offered,
            accepted: 0,
            device_features_sel: 0,
            driver_features_sel: 0,
            status: 0,
            queue_sel: 0,
            config_generation: 0,
            queues: queue_sizes
                .iter()
                .map(|&size| QueueState { max_size: size, size, ..QueueState::default() })
                .collect(),
        }
    }

    /// The device status as the driver wrote it, without DEVICE_NEEDS_RESET.
    pub fn status(&self) -> u32 {
        self.status
    }

    /// The features agreed on; final when the driver is ready.
    pub fn features(&self) -> u64 {
        self.accepted
    }

    /// The queues as the driver set them up, by number.
    pub fn queues(&self) -> &[QueueState] {
        &self.queues
    }

    /// A register's value; 0 where there is none. The registers that change under a running
    /// device, Status and InterruptStatus, and the configuration space are the transport's.
    pub fn read(&self, offset: u32) -> u32 {
        let queue = self.queue();
        match offset {
            reg::VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            reg::VIRTIO_MMIO_VERSION => VERSION,
            reg::VIRTIO_MMIO_DEVICE_ID => self.kind as u32,
            reg::VIRTIO_MMIO_VENDOR_ID => VENDOR,
            reg::VIRTIO_MMIO_DEVICE_FEATURES => word(self.offered, self.device_features_sel),
            reg::VIRTIO_MMIO_QUEUE_NUM_MAX => queue.map_or(0, |queue| queue.max_size.into()),
            reg::VIRTIO_MMIO_QUEUE_READY => queue.map_or(0, |queue| queue.ready.into()),
            // No shared memory regions: each has length and address -1 (spec 4.2.2).
            reg::VIRTIO_MMIO_SHM_LEN_LOW..=reg::VIRTIO_MMIO_SHM_BASE_HIGH => u32::MAX,
            reg::VIRTIO_MMIO_CONFIG_GENERATION => self.config_generation,
            _ => 0,
        }
    }

    /// The configuration space has changed: a driver that reads it in several steps must be able to
    /// tell (spec 2.5.1).
    pub fn reconfigured(&mut self) {
        self.config_generation = self.config_generation.wrapping_add(1);
    }

    /// Writes a register; what may not be written now, or is not there, stays as it is.
    pub fn write(&mut self, offset: u32, value: u32) -> Action {
        match offset {
            reg::VIRTIO_MMIO_DEVICE_FEATURES_SEL => self.device_features_sel = value,
            reg::VIRTIO_MMIO_DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            reg::VIRTIO_MMIO_DRIVER_FEATURES => self.accept_features(value),
            reg::VIRTIO_MMIO_QUEUE_SEL => self.queue_sel = value,
            reg::VIRTIO_MMIO_QUEUE_NOTIFY => return Action::Notify(value),
            reg::VIRTIO_MMIO_INTERRUPT_ACK => return Action::Acknowledge(value),
            reg::VIRTIO_MMIO_STATUS => return self.write_status(value),
            _ => self.write_queue(offset, value),
        }
        Action::None
    }

    fn accept_features(&mut self, value: u32) {
        if self.status & FEATURES_OK != 0 {
            return;
        }
        match self.driver_features_sel {
            0 => set_low(&mut self.accepted, value),
            1 => set_high(&mut self.accepted, value),
            _ => {}
        }
    }

    fn write_status(&mut self, value: u32) -> Action {
        if value == 0 {
            let sizes: Vec<u16> = self.queues.iter().map(|queue| queue.max_size).collect();
            *self = Registers::new(self.kind, self.offered, &sizes);
            return Action::Reset;
        }
        if value & self.status != self.status {
            return Action::None; // only a reset clears bits
        }
        let was = self.status;
        self.status |= value & (ACKNOWLEDGE | FAILED);
        // Each step needs the one before it; a driver that gave up takes none.
        for (step, after) in
            [(DRIVER, ACKNOWLEDGE), (FEATURES_OK, DRIVER), (DRIVER_OK, FEATURES_OK)]
        {
            let allowed = self.status & after != 0 && self.status & FAILED == 0;
            if value & step != 0 && allowed && (step != FEATURES_OK || self.features_agree()) {
                self.status |= step;
            }
        }
        if self.status & !was & DRIVER_OK != 0 { Action::Activate } else { Action::None }
    }

    fn features_agree(&self) -> bool {
        self.accepted & !self.offered == 0 && self.accepted & (1 << VIRTIO_F_VERSION_1) != 0
    }

    fn queue(&self) -> Option<&QueueState> {
        self.queues.get(usize::try_from(self.queue_sel).ok()?)
    }

    /// Queues take writes between FEATURES_OK and DRIVER_OK, each until it is ready.
    fn write_queue(&mut self, offset: u32, value: u32) {
        let settable = ACKNOWLEDGE | DRIVER | FEATURES_OK;
        if self.status != settable {
            return;
        }
        let Some(queue) =
            usize::try_from(self.queue_sel).ok().and_then(|index| self.queues.get_mut(index))
        else {
            return;
        };
        match offset {
            reg::VIRTIO_MMIO_QUEUE_READY => queue.ready = value & 1 != 0,
            _ if queue.ready => {}
            // What does not fit is no power of two either, and refused when the queue is used.
            reg::VIRTIO_MMIO_QUEUE_NUM => queue.size = u16::try_from(value).unwrap_or(0),
            reg::VIRTIO_MMIO_QUEUE_DESC_LOW => set_low(&mut queue.desc_table, value),
            reg::VIRTIO_MMIO_QUEUE_DESC_HIGH => set_high(&mut queue.desc_table, value),
            reg::VIRTIO_MMIO_QUEUE_AVAIL_LOW => set_low(&mut queue.avail_ring, value),
            reg::VIRTIO_MMIO_QUEUE_AVAIL_HIGH => set_high(&mut queue.avail_ring, value),
            reg::VIRTIO_MMIO_QUEUE_USED_LOW => set_low(&mut queue.used_ring, value),
            reg::VIRTIO_MMIO_QUEUE_USED_HIGH => set_high(&mut queue.used_ring, value),
            _ => {}
        }
    }
}

/// 32 of 64 bits; the words past them are 0.
fn word(bits: u64, index: u32) -> u32 {
    let [a, b, c, d, e, f, g, h] = bits.to_le_bytes();
    match index {
        0 => u32::from_le_bytes([a, b, c, d]),
        1 => u32::from_le_bytes([e, f, g, h]),
        _ => 0,
    }
}

fn set_low(bits: &mut u64, value: u32) {
    *bits = *bits & !0xffff_ffff | u64::from(value);
}

fn set_high(bits: &mut u64, value: u32) {
    *bits = *bits & 0xffff_ffff | u64::from(value) << 32;
}

#[cfg(test)]
mod tests;
