//! Memory as the monitor filled it before the start: boot parameters and ACPI's tables, and what
//! they point to. Nobody writes there until smp.rs takes its page, after all of it was read.
#![allow(unsafe_code, reason = "what the monitor left is reached by address")]

use core::{ptr, slice};

/// An address in such memory. Below 4 GiB all is mapped; beyond, a read ends the run.
#[derive(Clone, Copy)]
pub struct Handover(usize);

impl Handover {
    /// # Safety
    /// The monitor put something there for this guest, and the addresses in it are of such memory
    /// too.
    pub const unsafe fn at(address: usize) -> Handover {
        Handover(address)
    }

    /// What an address in here points to; `None` for 0.
    pub fn follow(self, address: u64) -> Option<Handover> {
        (address != 0).then_some(Handover(address as usize))
    }

    /// So many bytes further on.
    pub fn skip(self, bytes: usize) -> Handover {
        Handover(self.0 + bytes)
    }

    pub fn u8(self, offset: usize) -> u8 {
        self.bytes(offset + 1)[offset]
    }

    pub fn u32(self, offset: usize) -> u32 {
        u32_at(self.bytes(offset + 4), offset)
    }

    pub fn u64(self, offset: usize) -> u64 {
        u64_at(self.bytes(offset + 8), offset)
    }

    pub fn bytes(self, length: usize) -> &'static [u8] {
        // SAFETY: the address is of memory that nobody writes, by whoever called `at`.
        unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(self.0), length) }
    }

    /// The bytes before the first that is zero.
    pub fn text(self) -> &'static [u8] {
        let length = (0..).take_while(|&offset| self.u8(offset) != 0).count();
        self.bytes(length)
    }
}

/// A little-endian number in `bytes`; what is past their end counts as zero.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    (0..8).rev().fold(0, |word, n| word << 8 | u64::from(*bytes.get(at + n).unwrap_or(&0)))
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u64_at(bytes, at) as u32
}
