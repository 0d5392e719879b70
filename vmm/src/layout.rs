//! The map of a machine: guest-physical memory, I/O ports, interrupt lines.
//!
//! ```text
//!             0 ┬──────────────────────────────┐
//!               │ real-mode vectors, not ours  │
//!        0x1000 │ GDT                          │  64-bit entry only
//!        0x2000 │ page tables                  │  64-bit entry only
//!        0x8000 │ zero page (boot_params)      │  or, by PVH,
//!        0x9000 │ start_info, modules, map     │
//!       0x10000 │ command line                 │
//!       0x20000 │ free                         │
//!       0x9fc00 ├── end of conventional RAM ───┤
//!               │ reserved                     │
//!       0xe0000 │ ACPI: RSDP, then its tables  │
//!       0xf0000 │ MP table                     │  without ACPI only
//!       0xff000 │ SMBIOS: anchor, then tables  │
//!       0xffff0 │ reset vector                 │
//!      0x100000 ├──────────────────────────────┤
//!               │ RAM: kernel low, initrd high │
//!    0xc0000000 ├── the gap ───────────────────┤  never RAM
//!    0xd0000000 │ virtio-mmio windows          │
//!    0xfec00000 │ IOAPIC                       │
//!    0xfee00000 │ local APIC                   │
//!    0xfffbc000 │ KVM's own pages              │  Intel without unrestricted guest
//!   0x100000000 ├──────────────────────────────┤
//!               │ the RAM the gap displaced    │
//!               ┴──────────────────────────────┘
//! ```
//!
//! Nothing here overlaps: the assertions at the end of this file are evaluated by the compiler.
//! Only what the chosen boot protocol needs is written, so the rest of the first MiB stays
//! untouched host memory.

use std::ops::Range;

/// Global descriptor table for the 64-bit entry.
pub const GDT: Range<u64> = 0x1000..0x2000;
/// Identity map for the 64-bit entry: a PML4, a PDPT and four page directories reach 4 GiB.
pub const PAGE_TABLES: Range<u64> = 0x2000..0x8000;
/// `boot_params` of the Linux boot protocol.
pub const ZERO_PAGE: Range<u64> = 0x8000..0x9000;
/// `hvm_start_info` of PVH, its module list and its memory map.
pub const START_INFO: Range<u64> = 0x9000..0xa000;
/// Kernel command line, NUL-terminated.
pub const CMDLINE: Range<u64> = 0x1_0000..0x2_0000;
/// Conventional memory ends here; above was the BIOS' data area.
pub const CONVENTIONAL_END: u64 = 0x9_fc00;
/// ACPI: the RSDP at the start, where ACPI 6.5 section 5.2.5.1 has an OS look; then the tables.
pub const ACPI: Range<u64> = 0xe_0000..0xf_0000;
/// MP table for kernels without ACPI: its pointer at the start, in the part of memory where
/// section 4 of Intel's MultiProcessor Specification has an OS look.
pub const MP_TABLE: Range<u64> = 0xf_0000..0xf_f000;
/// SMBIOS: the anchor at the start, where SMBIOS 3.x section 5.2 has an OS look; then the tables.
pub const SMBIOS: Range<u64> = 0xf_f000..0xf_fff0;
/// Where a reset begins, in real mode.
pub const RESET_VECTOR: Range<u64> = 0xf_fff0..0x10_0000;
/// Kernels load from here up.
pub const KERNEL_START: u64 = 0x10_0000;

/// Never RAM: devices live here.
pub const GAP: Range<u64> = 0xc000_0000..0x1_0000_0000;
/// virtio-mmio register windows, one after the other.
pub const VIRTIO_MMIO: Range<u64> = 0xd000_0000..0xd000_0000 + MAX_VIRTIO as u64 * VIRTIO_WINDOW;
/// Size of one virtio-mmio window.
pub const VIRTIO_WINDOW: u64 = 0x1000;
/// I/O APIC, where KVM emulates it.
pub const IOAPIC: Range<u64> = 0xfec0_0000..0xfec0_1000;
/// Local APICs, where KVM emulates them.
pub const LOCAL_APIC: Range<u64> = 0xfee0_0000..0xfee0_1000;
/// One page for `KVM_SET_IDENTITY_MAP_ADDR`.
pub const KVM_IDENTITY_MAP: Range<u64> = 0xfffb_c000..0xfffb_d000;
/// Three pages for `KVM_SET_TSS_ADDR`.
pub const KVM_TSS: Range<u64> = 0xfffb_d000..0xfffc_0000;

/// i8042: data at 0x60, status and command at 0x64; its reset command is all it does.
pub const I8042_PORTS: Range<u16> = 0x60..0x65;
/// Debug exit: a byte written here ends the machine with that status.
pub const DEBUG_EXIT_PORTS: Range<u16> = 0xf4..0xf5;
/// First serial port, a 16550.
pub const COM1_PORTS: Range<u16> = 0x3f8..0x400;
/// Sleep, reset and event registers; see [`crate::power`].
pub const POWER_PORTS: Range<u16> = 0x600..0x604;

/// Interrupt line of COM1.
pub const COM1_GSI: u32 = 4;
/// Interrupt lines of the virtio-mmio windows, in order.
pub const VIRTIO_GSIS: Range<u32> = 5..5 + MAX_VIRTIO;
/// Interrupt line that tells the guest to read the event register.
pub const POWER_GSI: u32 = 21;
/// Lines of the I/O APIC.
pub const GSIS: u32 = 24;

/// virtio devices of one machine: what the lines of the I/O APIC allow.
pub const MAX_VIRTIO: u32 = 16;
/// vCPUs of one machine: 8-bit APIC ids without the broadcast id.
pub const MAX_CPUS: u16 = 255;

/// Where a virtio device answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First guest-physical address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// Interrupt line, edge-triggered.
    pub gsi: u32,
}

/// The window of the virtio device with this index; `None` from [`MAX_VIRTIO`] on.
#[must_use]
pub fn virtio_window(index: u32) -> Option<Window> {
    (index < MAX_VIRTIO).then(|| Window {
        base: VIRTIO_MMIO.start + u64::from(index) * VIRTIO_WINDOW,
        size: VIRTIO_WINDOW,
        gsi: VIRTIO_GSIS.start + index,
    })
}

/// Where `bytes` of RAM go: all below the gap, or the first part below and the rest from 4 GiB.
///
/// `None` where that runs past the end of 64-bit addresses.
#[must_use]
pub fn ram(bytes: u64) -> Option<Vec<Range<u64>>> {
    let low = bytes.min(GAP.start);
    let high = GAP.end..GAP.end.checked_add(bytes - low)?;
    Some([0..low, high].into_iter().filter(|range| !range.is_empty()).collect())
}

/// The RAM that kernels and initrds can have: from 1 MiB on, and below the gap, as the page tables
/// and pointers they start with reach no further than 4 GiB.
#[must_use]
pub fn room(ram: &[Range<u64>]) -> Range<u64> {
    KERNEL_START..ram.first().map_or(KERNEL_START, |low| low.end)
}

/// What a stretch of the memory map is to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The guest's to use.
    Ram,
    /// To be read where a table points there, else to be left alone.
    Reserved,
}

/// The memory map as the guest is told it, by e820 or by PVH: sorted, without overlaps.
///
/// Memory the map does not mention is not RAM; the gap is left out.
#[must_use]
pub fn memory_map(ram: &[Range<u64>]) -> Vec<(Range<u64>, Use)> {
    let conventional = (0..CONVENTIONAL_END, Use::Ram);
    let legacy = (CONVENTIONAL_END..KERNEL_START, Use::Reserved);
    let above = |range: &Range<u64>| (range.start.max(KERNEL_START)..range.end, Use::Ram);
    [conventional, legacy].into_iter().chain(ram.iter().map(above)).collect()
}

const fn in_order(map: &[Range<u64>]) -> bool {
    let mut i = 0;
    while i < map.len() {
        if map[i].start >= map[i].end || (i > 0 && map[i - 1].end > map[i].start) {
            return false;
        }
        i += 1;
    }
    true
}

const fn ports(range: Range<u16>) -> Range<u64> {
    range.start as u64..range.end as u64
}

const _: () = assert!(in_order(&[
    GDT,
    PAGE_TABLES,
    ZERO_PAGE,
    START_INFO,
    CMDLINE,
    CMDLINE.end..CONVENTIONAL_END,
    ACPI,
    MP_TABLE,
    SMBIOS,
    RESET_VECTOR,
    KERNEL_START..GAP.start,
    VIRTIO_MMIO,
    IOAPIC,
    LOCAL_APIC,
    KVM_IDENTITY_MAP,
    KVM_TSS,
    KVM_TSS.end..GAP.end,
]));
const _: () = assert!(GAP.start < VIRTIO_MMIO.start && GAP.end == 1 << 32);
const _: () = assert!(in_order(&[
    ports(I8042_PORTS),
    ports(DEBUG_EXIT_PORTS),
    ports(COM1_PORTS),
    ports(POWER_PORTS),
]));
const _: () = assert!(COM1_GSI < VIRTIO_GSIS.start);
const _: () = assert!(VIRTIO_GSIS.end <= POWER_GSI && POWER_GSI < GSIS);
// A 2 MiB page of the host can back either part: both start at such a multiple.
const _: () = assert!(GAP.start.is_multiple_of(2 << 20) && GAP.end.is_multiple_of(2 << 20));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_below_the_gap_is_one_piece() {
        for bytes in [128 << 20, GAP.start] {
            let one = ram(bytes).unwrap();
            assert_eq!((one.len(), one[0].clone()), (1, 0..bytes));
        }
    }

    #[test]
    fn ram_beyond_the_gap_continues_at_4_gib() {
        let two = ram(GAP.start + 4096).unwrap();
        assert_eq!(two, [0..GAP.start, GAP.end..GAP.end + 4096]);
    }

    #[test]
    fn ram_past_the_last_address_is_refused() {
        assert_eq!(ram(u64::MAX), None);
    }

    #[test]
    fn memory_map_is_sorted_and_has_no_ram_in_the_reserved_parts() {
        let map = memory_map(&ram(GAP.start + (1 << 30)).unwrap());
        let ranges: Vec<_> = map.iter().map(|(range, _)| range.clone()).collect();
        assert!(in_order(&ranges));
        for (range, _) in map.iter().filter(|(_, used_as)| *used_as == Use::Ram) {
            for reserved in [ACPI, SMBIOS, MP_TABLE, GAP] {
                assert!(range.end <= reserved.start || reserved.end <= range.start);
            }
        }
    }

    #[test]
    fn windows_are_disjoint_and_end() {
        let all: Vec<_> = (0..).map_while(virtio_window).collect();
        assert_eq!(all.len(), MAX_VIRTIO as usize);
        assert_eq!(all[15], Window { base: 0xd000_f000, size: 0x1000, gsi: 20 });
        assert!(all.windows(2).all(|pair| pair[0].base + pair[0].size == pair[1].base));
    }
}
