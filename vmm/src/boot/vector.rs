//! The code at the reset vector: what is left of a PC's firmware.
//!
//! A processor that is reset, and an operating system that restarts a PC the oldest way, begins
//! in real mode 16 bytes below 1 MiB. Linux does so here: on hardware-reduced ACPI it takes the
//! machine for one with EFI and, finding none, tries this before the reset register of the FADT.

use vm_memory::{Bytes, GuestAddress};

use super::{Error, Result};
use crate::layout;
use crate::memory::GuestMemory;

/// `mov al, 0xfe; out 0x64, al` is the reset command of the i8042; `hlt; jmp` back should it not
/// be enough.
const CODE: [u8; 7] = [0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd];

/// Writes the code.
pub fn write(memory: &GuestMemory) -> Result<()> {
    memory
        .write_slice(&CODE, GuestAddress(layout::RESET_VECTOR.start))
        .map_err(|source| Error::Write { what: "the reset vector", source })
}
