//! A split virtqueue (virtio 1.2, 2.7). A request has a slot of its own for good, and each slot
//! its own descriptors: nothing is searched, and an answer names its slot.

use core::sync::atomic::{Ordering, fence};

use super::feature;
use super::mmio::Registers;
use crate::memory::Shared;
use crate::power::fail;

/// The most buffers in a request.
const SEGMENTS: usize = 3;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;
const NO_INTERRUPT: u16 = 1;

/// An element of a descriptor table.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Descriptor {
    pub address: u64,
    pub length: u32,
    pub flags: u16,
    pub next: u16,
}

/// A buffer of a request.
#[derive(Clone, Copy)]
pub struct Segment {
    pub address: u64,
    pub length: usize,
    /// Whether the device writes it; those it reads come first.
    pub device_writes: bool,
}

/// What the device says of a request.
pub struct Answer {
    pub slot: usize,
    /// The bytes it wrote.
    pub length: usize,
}

/// A queue, and the part of it that the device has not seen or not answered.
pub struct Queue {
    registers: Registers,
    index: u16,
    size: u16,
    event_index: bool,
    /// Descriptors of indirect requests: a table of [`SEGMENTS`] for each slot.
    tables: Option<Shared<Descriptor>>,
    descriptors: Shared<Descriptor>,
    /// Flags, index, ring, used_event.
    available: Shared<u16>,
    /// Flags, index, ring of 8-byte elements, avail_event.
    used: Shared<u16>,
    next_available: u16,
    next_used: u16,
    /// Where `next_available` stood when the device last looked.
    shown: u16,
}

impl Queue {
    /// A queue of `size` descriptors, a power of two.
    pub fn new(registers: Registers, index: u16, size: u16, features: u64) -> Queue {
        let length = usize::from(size);
        let indirect = features & feature::INDIRECT_DESC != 0;
        let queue = Queue {
            registers,
            index,
            size,
            event_index: features & feature::EVENT_IDX != 0,
            tables: indirect.then(|| Shared::new(SEGMENTS * length, Descriptor::default())),
            descriptors: Shared::new(length, Descriptor::default()),
            available: Shared::new(3 + length, 0),
            used: Shared::new(3 + 4 * length, 0),
            next_available: 0,
            next_used: 0,
            shown: 0,
        };
        queue.want_interrupt(false);
        queue
    }

    pub fn index(&self) -> u16 {
        self.index
    }

    pub fn size(&self) -> u16 {
        self.size
    }

    /// Where the device finds descriptor table, driver area and device area.
    pub fn addresses(&self) -> [u64; 3] {
        [self.descriptors.address(), self.available.address(), self.used.address()]
    }

    /// How many requests fit.
    pub fn slots(&self) -> usize {
        let size = usize::from(self.size);
        if self.tables.is_some() { size } else { size / SEGMENTS }
    }

    /// Adds a request, in a slot that has none; [`Queue::show`] shows it to the device.
    pub fn submit(&mut self, slot: usize, segments: &[Segment]) {
        let head = match &self.tables {
            Some(tables) => {
                chain(tables, slot * SEGMENTS, 0, segments);
                let table = Descriptor {
                    address: tables.address_of(slot * SEGMENTS),
                    length: (segments.len() * size_of::<Descriptor>()) as u32,
                    flags: INDIRECT,
                    next: 0,
                };
                self.descriptors.set(slot, table);
                slot
            }
            None => {
                chain(&self.descriptors, slot * SEGMENTS, slot * SEGMENTS, segments);
                slot * SEGMENTS
            }
        };
        let place = usize::from(self.next_available % self.size);
        self.available.set(2 + place, head as u16);
        self.next_available = self.next_available.wrapping_add(1);
    }

    /// Shows the device what was submitted, and wakes it if it asks for that.
    pub fn show(&mut self) {
        if self.shown == self.next_available {
            return;
        }
        fence(Ordering::Release);
        self.available.set(1, self.next_available);
        fence(Ordering::SeqCst);
        if self.device_wants_to_know() {
            self.registers.notify(self.index);
        }
        self.shown = self.next_available;
    }

    /// virtio 1.2, 2.7.10.1 and 2.7.13.4.
    fn device_wants_to_know(&self) -> bool {
        if !self.event_index {
            return self.used.get(0) & 1 == 0;
        }
        let event = self.used.get(2 + 4 * usize::from(self.size));
        let since_event = self.next_available.wrapping_sub(event).wrapping_sub(1);
        since_event < self.next_available.wrapping_sub(self.shown)
    }

    /// The next answer.
    pub fn answer(&mut self) -> Option<Answer> {
        if self.used.get(1) == self.next_used {
            return None;
        }
        fence(Ordering::Acquire);
        let element = 2 + 4 * usize::from(self.next_used % self.size);
        let head = usize::from(self.used.get(element));
        self.next_used = self.next_used.wrapping_add(1);
        let slot = if self.tables.is_some() { head } else { head / SEGMENTS };
        if slot >= self.slots() {
            fail!(Device, "{}: queue {}: answer to {head}", self.registers, self.index);
        }
        let length =
            usize::from(self.used.get(element + 2)) | usize::from(self.used.get(element + 3)) << 16;
        Some(Answer { slot, length })
    }

    /// Whether there is an answer.
    pub fn answered(&self) -> bool {
        self.used.get(1) != self.next_used
    }

    /// Asks for an interrupt with the next answer, or for none. An answer that came before the
    /// device saw this brings none: look once more.
    pub fn want_interrupt(&self, want: bool) {
        if self.event_index {
            let event = if want { self.next_used } else { self.next_used.wrapping_sub(1) };
            self.available.set(2 + usize::from(self.size), event);
        } else {
            self.available.set(0, if want { 0 } else { NO_INTERRUPT });
        }
        fence(Ordering::SeqCst);
    }
}

/// Writes a chain to `table` from element `at` on; `base` is what links count from.
fn chain(table: &Shared<Descriptor>, at: usize, base: usize, segments: &[Segment]) {
    assert!(segments.len() <= SEGMENTS);
    for (n, segment) in segments.iter().enumerate() {
        let more = n + 1 < segments.len();
        let descriptor = Descriptor {
            address: segment.address,
            length: segment.length as u32,
            flags: if segment.device_writes { WRITE } else { 0 } | if more { NEXT } else { 0 },
            next: if more { (base + n + 1) as u16 } else { 0 },
        };
        table.set(at + n, descriptor);
    }
}
