//! A driver's virtqueue, in memory that the device shares: chains of a header, a block and a status.
//!
//! ```text
//!   0        4 KiB        8 KiB      12 KiB                 16 KiB           64 KiB
//!   ┌───────┬────────────┬──────────┬──────────────────────┬────────┬───────┬──────────┐
//!   │ table │ available  │ used     │ headers, 16 bytes    │ status │       │ blocks   │
//!   └───────┴────────────┴──────────┴──────────────────────┴────────┴───────┴──────────┘
//! ```

use std::sync::atomic::{Ordering, fence};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::layout::BLOCK;
use crate::report::Result;

/// Descriptors in the ring.
pub const SIZE: u16 = 128;
pub const TABLE: u64 = 0;
pub const AVAILABLE: u64 = 0x1000;
pub const USED: u64 = 0x2000;
const HEADERS: u64 = 0x3000;
const STATUS: u64 = 0x4000;
const BLOCKS: u64 = 0x1_0000;
/// Bytes of all of it.
pub const LEN: u64 = 0x20_0000;

const NEXT: u16 = 1;
const WRITABLE: u16 = 2;

/// What is asked of a block device.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Request {
    Read = 0,
    Write = 1,
    Flush = 4,
}

/// The driver's side of the queue.
pub struct Ring {
    memory: GuestMemoryMmap,
    available: u16,
    used: u16,
}

impl Ring {
    /// In `memory`, which is [`LEN`] long and zeroes.
    pub fn new(memory: GuestMemoryMmap) -> Ring {
        Ring { memory, available: 0, used: 0 }
    }

    /// Makes a request available in one of the places for them, and returns whether the device wants to
    /// be told.
    pub fn offer(&mut self, slot: u16, request: Request, at: u64) -> Result<bool> {
        let index = u64::from(slot);
        let (header, status) = (HEADERS + 16 * index, STATUS + index);
        let kind = request as u32;
        self.put(header, [u64::from(kind), at / 512])?;
        self.put(status, 0xff_u8)?;
        let head = 3 * slot;
        self.describe(head, header, 16, NEXT, head + 1)?;
        let block = BLOCKS + BLOCK * index;
        let len = u32::try_from(BLOCK)?;
        match request {
            Request::Read => self.describe(head + 1, block, len, NEXT | WRITABLE, head + 2)?,
            Request::Write => self.describe(head + 1, block, len, NEXT, head + 2)?,
            Request::Flush => self.describe(head, header, 16, NEXT, head + 2)?,
        }
        self.describe(head + 2, status, 1, WRITABLE, 0)?;
        self.put(AVAILABLE + 4 + 2 * u64::from(self.available % SIZE), head)?;
        self.available = self.available.wrapping_add(1);
        self.memory.store(self.available, GuestAddress(AVAILABLE + 2), Ordering::SeqCst)?;
        fence(Ordering::SeqCst);
        // EVENT_IDX, spec 2.7.10.1.
        let event: u16 = self.memory.read_obj(GuestAddress(USED + 4 + 8 * u64::from(SIZE)))?;
        Ok(event == self.available.wrapping_sub(1))
    }

    /// The place of the next request that was served, which must have been well.
    pub fn take(&mut self) -> Result<Option<u16>> {
        let served: u16 = self.memory.load(GuestAddress(USED + 2), Ordering::SeqCst)?;
        if self.used == served {
            return Ok(None);
        }
        let entry = USED + 4 + 8 * u64::from(self.used % SIZE);
        let head: u32 = self.memory.read_obj(GuestAddress(entry))?;
        self.used = self.used.wrapping_add(1);
        let slot = u16::try_from(head / 3)?;
        match self.memory.read_obj(GuestAddress(STATUS + u64::from(slot)))? {
            0_u8 => Ok(Some(slot)),
            status => Err(format!("the device answered {status}").into()),
        }
    }

    /// Asks to be told of the next request that is served.
    pub fn arm(&self) -> Result<()> {
        self.put(AVAILABLE + 4 + 2 * u64::from(SIZE), self.used)?;
        fence(Ordering::SeqCst);
        Ok(())
    }

    fn describe(&self, index: u16, at: u64, len: u32, flags: u16, next: u16) -> Result<()> {
        let second = u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48;
        self.put(TABLE + 16 * u64::from(index), [at, second])
    }

    fn put<T: vm_memory::ByteValued>(&self, at: u64, value: T) -> Result<()> {
        Ok(self.memory.write_obj(value, GuestAddress(at))?)
    }
}
