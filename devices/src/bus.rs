//! Addresses to devices, for ports and for MMIO alike.
//!
//! A [`Bus`] is filled while its machine is put together and only read afterwards, so finding a
//! device takes no lock; a device's own mutex is held while its handler runs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// A device the guest reaches by address.
pub trait BusDevice: Send {
    /// Fills `data` from the registers at `offset` in the device's range.
    fn read(&mut self, offset: u64, data: &mut [u8]);
    /// Writes `data` to the registers at `offset`; says what the machine must do now.
    fn write(&mut self, offset: u64, data: &[u8]) -> Effect;
}

/// What a register write asks of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Nothing.
    #[default]
    None,
    /// Reset the machine.
    Reset,
    /// Power off.
    Shutdown,
    /// End the VM with this status.
    Exit(u8),
}

/// A device as the bus holds it; whoever else needs it keeps a clone.
pub type Shared = Arc<Mutex<dyn BusDevice>>;

/// Why a device was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A device without addresses.
    #[error("the device range {0:#x?} is empty")]
    Empty(Range<u64>),
    /// Another device has some of these addresses.
    #[error("the device range {new:#x?} overlaps {old:#x?}")]
    Overlap {
        /// The range asked for.
        new: Range<u64>,
        /// The range already there.
        old: Range<u64>,
    },
}

/// A space of addresses: I/O ports, or guest-physical memory outside RAM.
#[derive(Default)]
pub struct Bus {
    /// By first address; ranges do not overlap.
    slots: BTreeMap<u64, Slot>,
}

struct Slot {
    end: u64,
    device: Shared,
}

impl Bus {
    /// A bus with nothing on it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `device` at `range`.
    ///
    /// # Errors
    /// The range is empty or touches another device's.
    pub fn insert(&mut self, range: Range<u64>, device: Shared) -> Result<(), Error> {
        if range.is_empty() {
            return Err(Error::Empty(range));
        }
        // Ranges do not overlap, so of those that begin before our end the last reaches furthest.
        if let Some((&start, slot)) = self.slots.range(..range.end).next_back()
            && slot.end > range.start
        {
            return Err(Error::Overlap { new: range, old: start..slot.end });
        }
        self.slots.insert(range.start, Slot { end: range.end, device });
        Ok(())
    }

    /// Reads `data.len()` bytes at `address`: all ones where no device has all of them.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let Some((offset, device)) = self.find(address, data.len()) {
            device.lock().unwrap_or_else(PoisonError::into_inner).read(offset, data);
        }
    }

    /// Writes `data` at `address`; nothing happens where no device has all of it.
    pub fn write(&self, address: u64, data: &[u8]) -> Effect {
        let Some((offset, device)) = self.find(address, data.len()) else {
            return Effect::None;
        };
        device.lock().unwrap_or_else(PoisonError::into_inner).write(offset, data)
    }

    fn find(&self, address: u64, len: usize) -> Option<(u64, &Shared)> {
        let end = address.checked_add(u64::try_from(len).ok()?)?;
        let (start, slot) = self.slots.range(..=address).next_back()?;
        (end > address && end <= slot.end).then_some((address - start, &slot.device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as the offset; keeps what was written.
    #[derive(Default)]
    struct Probe(Vec<(u64, Vec<u8>)>);

    impl BusDevice for Probe {
        fn read(&mut self, offset: u64, data: &mut [u8]) {
            data.fill(u8::try_from(offset).unwrap());
        }
        fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
            self.0.push((offset, data.to_vec()));
            Effect::Shutdown
        }
    }

    fn probe() -> Shared {
        Arc::new(Mutex::new(Probe::default()))
    }

    fn read(bus: &Bus, address: u64) -> [u8; 2] {
        let mut data = [0; 2];
        bus.read(address, &mut data);
        data
    }

    #[test]
    fn access_reaches_the_device_at_its_offset() {
        let device = Arc::new(Mutex::new(Probe::default()));
        let mut bus = Bus::new();
        bus.insert(0x100..0x110, device.clone()).unwrap();
        bus.insert(0x110..0x120, probe()).unwrap();
        assert_eq!(read(&bus, 0x10e), [0xe, 0xe]);
        assert_eq!(read(&bus, 0x110), [0, 0]);
        assert_eq!(bus.write(0x104, &[1, 2]), Effect::Shutdown);
        assert_eq!(device.lock().unwrap().0, [(4, vec![1, 2])]);
    }

    #[test]
    fn access_to_nothing_or_across_an_end_reads_ones_and_writes_nothing() {
        let mut bus = Bus::new();
        bus.insert(0x100..0x110, probe()).unwrap();
        bus.insert(0x110..0x120, probe()).unwrap();
        for address in [0, 0xff, 0x10f, 0x11f, 0x120, u64::MAX - 1, u64::MAX] {
            assert_eq!(read(&bus, address), [0xff, 0xff], "at {address:#x}");
            assert_eq!(bus.write(address, &[0, 0]), Effect::None, "at {address:#x}");
        }
        assert_eq!(bus.write(0x100, &[]), Effect::None);
    }

    #[test]
    fn overlapping_insert_is_refused() {
        let mut bus = Bus::new();
        bus.insert(0x100..0x110, probe()).unwrap();
        for range in [0x100..0x110, 0xff..0x101, 0x10f..0x200, 0..0x200, 0x104..0x105] {
            let refused = bus.insert(range.clone(), probe()).unwrap_err();
            assert_eq!(refused, Error::Overlap { new: range, old: 0x100..0x110 });
        }
        assert_eq!(bus.insert(5..5, probe()), Err(Error::Empty(5..5)));
        bus.insert(0xff..0x100, probe()).unwrap();
        bus.insert(0x110..u64::MAX, probe()).unwrap();
    }
}
