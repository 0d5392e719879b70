//! What the monitor hands over: command line, memory map, where ACPI is.

use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char};
use core::ptr;

use crate::memory;
use crate::power::fail;

/// What this guest wants to know of its start.
pub struct Boot {
    pub protocol: &'static str,
    pub cmdline: String,
    /// The address of the RSDP, 0 where not said.
    pub rsdp: usize,
    /// Usable RAM: start, end.
    pub ram: Vec<(u64, u64)>,
}

/// The 64-bit Linux boot protocol's boot_params, by offset (Documentation/arch/x86/boot.rst and
/// zero-page.rst in Linux).
mod zero_page {
    pub const ACPI_RSDP_ADDR: usize = 0x70;
    pub const E820_ENTRIES: usize = 0x1e8;
    pub const CMD_LINE_PTR: usize = 0x228;
    pub const E820_TABLE: usize = 0x2d0;
    pub const E820_ENTRY: usize = 20;
}

/// PVH's hvm_start_info, by offset (xen/include/public/arch-x86/hvm/start_info.h).
mod start_info {
    pub const MAGIC: u32 = 0x336e_c578;
    pub const VERSION: usize = 4;
    pub const CMDLINE_PADDR: usize = 24;
    pub const RSDP_PADDR: usize = 32;
    pub const MEMMAP_PADDR: usize = 40;
    pub const MEMMAP_ENTRIES: usize = 48;
    pub const MEMMAP_ENTRY: usize = 24;
}

const RAM: u32 = 1;

impl Boot {
    /// Reads what the monitor left at `params` and opens the heap.
    ///
    /// # Safety
    /// `params` is what the monitor passed by this protocol.
    pub unsafe fn read(params: usize, protocol: u64) -> Boot {
        match protocol {
            // SAFETY: as the caller's.
            0 => unsafe { Boot::linux(params) },
            // SAFETY: as the caller's.
            _ => unsafe { Boot::pvh(params) },
        }
    }

    unsafe fn linux(params: usize) -> Boot {
        // SAFETY: boot_params has these fields.
        let (entries, cmdline, rsdp) = unsafe {
            (
                read::<u8>(params + zero_page::E820_ENTRIES),
                read::<u32>(params + zero_page::CMD_LINE_PTR) as usize,
                read::<u64>(params + zero_page::ACPI_RSDP_ADDR) as usize,
            )
        };
        let map = Map {
            at: params + zero_page::E820_TABLE,
            entries: entries.into(),
            size: zero_page::E820_ENTRY,
        };
        // SAFETY: these are the map's and the command line's places.
        unsafe { Boot::new("linux64", map, cmdline, rsdp) }
    }

    unsafe fn pvh(params: usize) -> Boot {
        // SAFETY: start_info begins with its magic number.
        if unsafe { read::<u32>(params) } != start_info::MAGIC {
            fail!(Device, "PVH start_info has no magic number");
        }
        // SAFETY: start_info has these fields; the memory map from version 1 on.
        let (version, cmdline, rsdp, at, entries) = unsafe {
            (
                read::<u32>(params + start_info::VERSION),
                read::<u64>(params + start_info::CMDLINE_PADDR) as usize,
                read::<u64>(params + start_info::RSDP_PADDR) as usize,
                read::<u64>(params + start_info::MEMMAP_PADDR) as usize,
                read::<u32>(params + start_info::MEMMAP_ENTRIES) as usize,
            )
        };
        if version == 0 {
            fail!(Device, "PVH start_info is version 0, without a memory map");
        }
        let map = Map { at, entries, size: start_info::MEMMAP_ENTRY };
        // SAFETY: these are the map's and the command line's places.
        unsafe { Boot::new("pvh", map, cmdline, rsdp) }
    }

    unsafe fn new(protocol: &'static str, map: Map, cmdline: usize, rsdp: usize) -> Boot {
        // SAFETY: as the caller's.
        unsafe { map.open_heap() };
        let cmdline = match cmdline {
            0 => String::new(),
            // SAFETY: both protocols end the command line with a zero byte.
            at => unsafe { text(at) },
        };
        // SAFETY: as the caller's.
        let ram = unsafe { map.ram() }.collect();
        Boot { protocol, cmdline, rsdp, ram }
    }

    /// Whether all of `start..end` is usable RAM.
    pub fn is_ram(&self, start: u64, end: u64) -> bool {
        self.ram.iter().any(|&(first, last)| first <= start && end <= last)
    }
}

/// A memory map whose entries begin with a u64 address, a u64 size and a u32 type.
struct Map {
    at: usize,
    entries: usize,
    size: usize,
}

impl Map {
    unsafe fn ram(&self) -> impl Iterator<Item = (u64, u64)> {
        (0..self.entries).map(|n| self.at + n * self.size).filter_map(|at| {
            // SAFETY: the map has this entry.
            let (start, size, kind) =
                unsafe { (read::<u64>(at), read::<u64>(at + 8), read::<u32>(at + 16)) };
            (kind == RAM).then(|| (start, start.saturating_add(size)))
        })
    }

    unsafe fn open_heap(&self) {
        let program = memory::start() as u64;
        // SAFETY: as the caller's.
        let holder = unsafe { self.ram() }.find(|&(start, end)| (start..end).contains(&program));
        let Some((_, end)) = holder else {
            fail!(Device, "the memory map has no RAM after the program, at {program:#x}");
        };
        // Page tables reach to 4 GiB.
        memory::open(end.min(1 << 32) as usize);
    }
}

/// Reads a value at any alignment.
unsafe fn read<T: Copy>(at: usize) -> T {
    // SAFETY: the caller says what is there.
    unsafe { ptr::with_exposed_provenance::<T>(at).read_unaligned() }
}

unsafe fn text(at: usize) -> String {
    let start = ptr::with_exposed_provenance::<c_char>(at);
    // SAFETY: the caller says that a text ended by zero is there.
    let bytes = unsafe { CStr::from_ptr(start) };
    String::from_utf8_lossy(bytes.to_bytes()).into_owned()
}
