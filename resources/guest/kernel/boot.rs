//! What the monitor says at the start: command line, memory map, where ACPI is.

use alloc::string::String;
use alloc::vec::Vec;

use crate::handover::Handover;
use crate::memory;
use crate::power::fail;

/// The end of what the page tables map.
const MAPPED: u64 = 1 << 32;

/// What this guest wants to know of its start.
pub struct Boot {
    pub protocol: &'static str,
    pub cmdline: String,
    /// ACPI's root pointer, where said.
    pub rsdp: Option<Handover>,
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

impl Boot {
    /// Reads what the monitor passed by the protocol of entry.s: 0 is Linux, 1 PVH. Opens the
    /// heap.
    pub fn read(params: Handover, protocol: u64) -> Boot {
        if protocol == 0 { Boot::linux(params) } else { Boot::pvh(params) }
    }

    fn linux(params: Handover) -> Boot {
        let map = Map {
            start: params.skip(zero_page::E820_TABLE),
            entries: params.u8(zero_page::E820_ENTRIES).into(),
            size: zero_page::E820_ENTRY,
        };
        let cmdline = params.follow(params.u32(zero_page::CMD_LINE_PTR).into());
        let rsdp = params.follow(params.u64(zero_page::ACPI_RSDP_ADDR));
        Boot::new("linux64", &map, cmdline, rsdp)
    }

    fn pvh(params: Handover) -> Boot {
        let magic = params.u32(0);
        if magic != start_info::MAGIC || params.u32(start_info::VERSION) == 0 {
            fail!(Device, "PVH start_info has no magic number, or is too old for a memory map");
        }
        let Some(start) = params.follow(params.u64(start_info::MEMMAP_PADDR)) else {
            fail!(Device, "PVH start_info has no memory map");
        };
        let map = Map {
            start,
            entries: params.u32(start_info::MEMMAP_ENTRIES) as usize,
            size: start_info::MEMMAP_ENTRY,
        };
        let cmdline = params.follow(params.u64(start_info::CMDLINE_PADDR));
        let rsdp = params.follow(params.u64(start_info::RSDP_PADDR));
        Boot::new("pvh", &map, cmdline, rsdp)
    }

    fn new(
        protocol: &'static str,
        map: &Map,
        cmdline: Option<Handover>,
        rsdp: Option<Handover>,
    ) -> Boot {
        map.open_heap();
        let cmdline = cmdline.map_or(&[][..], Handover::text);
        let cmdline = String::from_utf8_lossy(cmdline).into_owned();
        Boot { protocol, cmdline, rsdp, ram: map.ram().collect() }
    }

    /// Whether all of `start..end` is usable RAM.
    pub fn is_ram(&self, start: u64, end: u64) -> bool {
        self.ram.iter().any(|&(first, last)| first <= start && end <= last)
    }
}

/// A memory map whose entries begin with a u64 address, a u64 size and a u32 type.
struct Map {
    start: Handover,
    entries: usize,
    size: usize,
}

impl Map {
    fn ram(&self) -> impl Iterator<Item = (u64, u64)> {
        const RAM: u32 = 1;
        (0..self.entries)
            .map(|index| self.start.skip(index * self.size))
            .filter(|entry| entry.u32(16) == RAM)
            .map(|entry| (entry.u64(0), entry.u64(0).saturating_add(entry.u64(8))))
    }

    fn open_heap(&self) {
        let start = memory::start() as u64;
        let Some((_, end)) = self.ram().find(|&(first, end)| (first..end).contains(&start)) else {
            fail!(Device, "the memory map has no RAM after the program, at {start:#x}");
        };
        memory::open(end.min(MAPPED) as usize);
    }
}
