//! A device's registers (virtio 1.2, 4.2.2).
#![allow(unsafe_code, reason = "registers are reached by address")]

use core::ptr;

use super::feature;
use super::queue::Queue;
use crate::cmdline::Window;
use crate::power::fail;

const MAGIC: usize = 0x00;
const VERSION: usize = 0x04;
const DEVICE_ID: usize = 0x08;
const DEVICE_FEATURES: usize = 0x10;
const DEVICE_FEATURES_SEL: usize = 0x14;
const DRIVER_FEATURES: usize = 0x20;
const DRIVER_FEATURES_SEL: usize = 0x24;
const QUEUE_SEL: usize = 0x30;
const QUEUE_SIZE_MAX: usize = 0x34;
const QUEUE_SIZE: usize = 0x38;
const QUEUE_READY: usize = 0x44;
const QUEUE_NOTIFY: usize = 0x50;
const INTERRUPT_ACK: usize = 0x64;
const STATUS: usize = 0x70;
const QUEUE_DESC: usize = 0x80;
const QUEUE_DRIVER: usize = 0x90;
const QUEUE_DEVICE: usize = 0xa0;
const CONFIG_GENERATION: usize = 0xfc;
const CONFIG: usize = 0x100;

const MAGIC_VALUE: u32 = u32::from_le_bytes(*b"virt");

const ACKNOWLEDGE: u32 = 1;
const DRIVER: u32 = 2;
const DRIVER_OK: u32 = 4;
const FEATURES_OK: u32 = 8;
const DEVICE_NEEDS_RESET: u32 = 0x40;
const FAILED: u32 = 0x80;

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Block,
    Entropy,
    Other(u32),
}

/// A device, by its registers.
#[derive(Clone, Copy)]
pub struct Registers {
    pub window: Window,
}

impl Registers {
    /// What device there is; `None` where the registers belong to none.
    pub fn kind(self) -> Option<Kind> {
        if self.read(MAGIC) != MAGIC_VALUE {
            return None;
        }
        match (self.read(DEVICE_ID), self.read(VERSION)) {
            (0, _) => None,
            (id, version @ (0 | 1 | 3..)) => {
                fail!(Device, "{self}: device {id} of version {version}, not 2")
            }
            (2, _) => Some(Kind::Block),
            (4, _) => Some(Kind::Entropy),
            (id, _) => Some(Kind::Other(id)),
        }
    }

    /// Resets the device and agrees with it on features: of those `wanted`, what it offers.
    pub fn negotiate(self, wanted: u64) -> u64 {
        self.reset();
        self.add_status(ACKNOWLEDGE);
        self.add_status(DRIVER);
        let agreed = self.features() & wanted;
        if agreed & feature::VERSION_1 == 0 {
            fail!(Device, "{self}: offers no VERSION_1");
        }
        for (select, half) in [(0, agreed), (1, agreed >> 32)] {
            self.write(DRIVER_FEATURES_SEL, select);
            self.write(DRIVER_FEATURES, half as u32);
        }
        self.add_status(FEATURES_OK);
        if self.read(STATUS) & FEATURES_OK == 0 {
            self.add_status(FAILED);
            fail!(Device, "{self}: refuses features {agreed:#x}");
        }
        agreed
    }

    /// Brings the device back to its start: it forgets its queues.
    pub fn reset(self) {
        self.write(STATUS, 0);
        while self.read(STATUS) != 0 {
            core::hint::spin_loop();
        }
    }

    /// The features it offers.
    pub fn features(self) -> u64 {
        self.write(DEVICE_FEATURES_SEL, 1);
        let high = u64::from(self.read(DEVICE_FEATURES));
        self.write(DEVICE_FEATURES_SEL, 0);
        high << 32 | u64::from(self.read(DEVICE_FEATURES))
    }

    /// How long queue `index` may be; 0 where there is none.
    pub fn queue_max(self, index: u16) -> u16 {
        self.write(QUEUE_SEL, index.into());
        self.read(QUEUE_SIZE_MAX) as u16
    }

    /// Hands over a queue.
    pub fn add_queue(self, queue: &Queue) {
        self.write(QUEUE_SEL, queue.index().into());
        self.set_queue(queue.size(), queue.addresses());
    }

    /// Writes the registers of the selected queue: its length, and where the device finds
    /// descriptor table, driver area and device area.
    pub fn set_queue(self, size: u16, [descriptors, driver, device]: [u64; 3]) {
        self.write(QUEUE_SIZE, size.into());
        for (register, address) in
            [(QUEUE_DESC, descriptors), (QUEUE_DRIVER, driver), (QUEUE_DEVICE, device)]
        {
            self.write(register, address as u32);
            self.write(register + 4, (address >> 32) as u32);
        }
        self.write(QUEUE_READY, 1);
    }

    /// Sets the device to work.
    pub fn start(self) {
        self.add_status(DRIVER_OK);
    }

    /// Tells the device that queue `index` has new requests.
    pub fn notify(self, index: u16) {
        self.write(QUEUE_NOTIFY, index.into());
    }

    /// Whether the device says that it cannot go on without a reset.
    pub fn needs_reset(self) -> bool {
        self.read(STATUS) & DEVICE_NEEDS_RESET != 0
    }

    /// Writes each register with each of some values, as no driver would, but for the status.
    pub fn scribble(self) {
        for register in (0..CONFIG + 0x40).step_by(4).filter(|&register| register != STATUS) {
            for value in [0, 1, 0xdead_b000, u32::MAX] {
                self.write(register, value);
                self.read(register);
            }
        }
    }

    /// Tells the device that its interrupt for used buffers was handled.
    pub fn acknowledge(self) {
        self.write(INTERRUPT_ACK, 1);
    }

    /// The 32-bit words of the configuration at `offset`, all of one generation.
    pub fn config<const N: usize>(self, offset: usize) -> [u32; N] {
        loop {
            let before = self.read(CONFIG_GENERATION);
            let words = core::array::from_fn(|index| self.read(CONFIG + offset + 4 * index));
            if self.read(CONFIG_GENERATION) == before {
                return words;
            }
        }
    }

    /// The 16-bit field of the configuration at `offset`.
    pub fn config_u16(self, offset: usize) -> u16 {
        // SAFETY: as `read`, of 16 bits, which the configuration allows.
        unsafe { self.register::<u16>(CONFIG + offset).read_volatile() }
    }

    fn add_status(self, bit: u32) {
        self.write(STATUS, self.read(STATUS) | bit);
    }

    fn read(self, register: usize) -> u32 {
        // SAFETY: ACPI or the command line says that a device's registers are there.
        unsafe { self.register::<u32>(register).read_volatile() }
    }

    fn write(self, register: usize, value: u32) {
        // SAFETY: as `read`; a queue's memory, which the device gets to know here, is its own.
        unsafe { self.register::<u32>(register).write_volatile(value) }
    }

    fn register<T>(self, register: usize) -> *mut T {
        ptr::with_exposed_provenance_mut(self.window.base as usize + register)
    }
}

impl core::fmt::Display for Registers {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        write!(f, "virtio at {:#x}", self.window.base)
    }
}
