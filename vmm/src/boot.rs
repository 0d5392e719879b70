//! What a machine finds in its memory when it starts: kernel, initrd, command line, tables.
//!
//! ```text
//! spec::Boot ──> kernel ──> elf            segments into guest memory
//!                   └─────> bzimage ──> decompress     (unpacked on the host first)
//!            ──> initrd                    as high as it may be
//!            ──> cmdline                   the user's words, and devices where ACPI has none
//! Board      ──> acpi, smbios, mptable     what the machine is made of
//!                   └─────> params or pvh  where all of that is: one page for the kernel's entry
//! ```
//!
//! Nothing here runs or knows KVM. Registers, page tables and the GDT follow from [`Entry`].
//!
//! # Which entry
//! [`Protocol::Linux64`] for everything that says it is Linux, PVH note or not: the guest starts
//! in 64-bit mode and skips a stretch of 32-bit set-up code, and `boot_params` can say all that
//! PVH's `start_info` can and more. [`Protocol::Pvh`] for other ELF files with the note, whose
//! `e_entry` means something else (32-bit multiboot code, a virtual address). 64-bit at `e_entry`
//! for the rest. [`spec::Boot::protocol`](crate::spec::Boot) overrides.
//!
//! Kernels run at the address they are linked for: the code that moves them about (KASLR) is part
//! of the decompressor, which never runs here.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vm_memory::{GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion};

use crate::memory::GuestMemory;
use crate::{layout, spec};

mod acpi;
mod bzimage;
mod cmdline;
mod decompress;
mod elf;
mod image;
mod initrd;
mod kernel;
mod mptable;
mod params;
mod pvh;
mod smbios;
#[cfg(test)]
mod testing;
mod vector;

pub use crate::layout::Window;
use kernel::Kernel;

/// What the firmware tables describe.
#[derive(Clone, Debug)]
pub struct Board<'a> {
    /// vCPUs, with APIC ids from 0 up; at most [`crate::layout::MAX_CPUS`].
    pub cpus: u16,
    /// The machine's identity.
    pub uuid: Uuid,
    /// Its name, for people.
    pub name: &'a str,
    /// virtio-mmio devices in the order the guest is to number them.
    pub virtio: &'a [Window],
}

/// Where and how the first vCPU starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// In which state.
    pub protocol: Protocol,
    /// Guest-physical address of the first instruction.
    pub rip: u64,
    /// Guest-physical address of `boot_params` (goes to RSI) or `hvm_start_info` (goes to EBX).
    pub params: u64,
    /// Whether the kernel uses ACPI. One that does not takes the machine for a PC, and needs the
    /// timer of a PC (PIT) to get its interrupts going.
    pub acpi: bool,
}

/// How a kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// 64-bit Linux boot protocol (Documentation/arch/x86/boot.rst): long mode, identity-mapped.
    Linux64,
    /// PVH (Xen's docs/misc/pvh.pandoc): 32-bit protected mode, no paging.
    Pvh,
}

/// Why a machine's memory could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel.
    #[error("cannot load kernel {}", path.display())]
    Kernel {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: kernel::Error,
    },
    /// The initial ramdisk.
    #[error("cannot load initrd {}", path.display())]
    Initrd {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: initrd::Error,
    },
    /// The command line.
    #[error("cannot use the kernel command line")]
    Cmdline(#[from] cmdline::Error),
    /// Guest memory has no room for what belongs in its first MiB.
    #[error("cannot write {what} to guest memory")]
    Write {
        /// What.
        what: &'static str,
        /// Why.
        source: GuestMemoryError,
    },
    /// The tables describe more than their place holds.
    #[error("{what} have {len} bytes; there is room for {room}")]
    TablesTooLong {
        /// Which tables.
        what: &'static str,
        /// Their length.
        len: usize,
        /// The room.
        room: u64,
    },
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// Fills `memory` with everything the guest starts from.
///
/// `memory` must be fresh: what is zero in the kernel (its .bss) is left as it is.
///
/// # Errors
/// The kernel, the initrd or the command line cannot be used; each says which file and why.
/// `memory` may then hold part of them.
pub fn load(boot: &spec::Boot, board: &Board, memory: &GuestMemory) -> Result<Entry> {
    let ram = ranges(memory);
    let room = layout::room(&ram);
    let of_kernel = |source| Error::Kernel { path: boot.kernel.clone(), source };
    let kernel = Kernel::open(&boot.kernel, &room).map_err(of_kernel)?;
    let (protocol, rip) = kernel.entry(boot.protocol).map_err(of_kernel)?;
    kernel.load(memory).map_err(of_kernel)?;
    let free = kernel.free_memory(&room);
    let initrd = boot.initrd.as_deref().map(|path| load_initrd(path, &free, memory)).transpose()?;

    let acpi = !cmdline::turns_acpi_off(&boot.cmdline) && kernel.finds_acpi().map_err(of_kernel)?;
    let (in_tables, in_cmdline) =
        if acpi { (board.virtio, &[][..]) } else { (&[][..], board.virtio) };
    let cmdline = cmdline::compose(&boot.cmdline, in_cmdline, kernel.cmdline_limit())?;
    cmdline::write(&cmdline, memory)?;
    let rsdp = acpi::write(board.cpus, in_tables, memory)?;
    if !acpi {
        mptable::write(board.cpus, memory)?;
    }
    smbios::write(board, memory)?;
    vector::write(memory)?;

    let facts = Facts { ram: &ram, rsdp, cmdline_len: cmdline.len(), initrd };
    let params = match protocol {
        Protocol::Linux64 => params::write(&facts, kernel.setup_header(), memory)?,
        Protocol::Pvh => pvh::write(&facts, memory)?,
    };
    Ok(Entry { protocol, rip, params, acpi })
}

/// The ELF file inside a bzImage; `None` when `kernel` is an ELF file already.
///
/// Reads the image's headers and checks what comes out as [`load`] does, but for the machine's
/// memory, which is not known yet.
///
/// # Errors
/// The file is neither, or what it holds cannot be unpacked or is no kernel for x86-64.
pub fn unpack(kernel: &Path) -> Result<Option<Vec<u8>>> {
    kernel::unpack(kernel).map_err(|source| Error::Kernel { path: kernel.to_owned(), source })
}

/// What the kernel is told of its surroundings.
struct Facts<'a> {
    ram: &'a [Range<u64>],
    rsdp: u64,
    cmdline_len: usize,
    initrd: Option<Range<u64>>,
}

fn ranges(memory: &GuestMemory) -> Vec<Range<u64>> {
    memory.iter().map(|region| region.start_addr().0..region.last_addr().0 + 1).collect()
}

fn load_initrd(path: &Path, free: &[Range<u64>], memory: &GuestMemory) -> Result<Range<u64>> {
    initrd::load(path, free, memory)
        .map_err(|source| Error::Initrd { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
