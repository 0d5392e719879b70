//! `boot_params`, the zero page of the Linux boot protocol (Documentation/arch/x86/zero-page.rst).

use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use vm_memory::{Bytes, GuestAddress};

use super::{Error, Facts, Result};
use crate::layout::{self, Use};
use crate::memory::GuestMemory;

/// "HdrS".
const HEADER_MAGIC: u32 = 0x5372_6448;
const BOOT_FLAG: u16 = 0xaa55;
/// The protocol version of the fields set here: 2.14 gave the RSDP its address.
const VERSION: u16 = 0x020e;
/// A loader without an id of its own.
const LOADER_UNDEFINED: u8 = 0xff;
/// The kernel lies at or above 1 MiB.
const LOADED_HIGH: u8 = 1;
const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;

/// Writes the page; returns its address.
pub(super) fn write(
    facts: &Facts,
    setup: Option<&setup_header>,
    memory: &GuestMemory,
) -> Result<u64> {
    let at = layout::ZERO_PAGE.start;
    memory
        .write_obj(fill(facts, setup), GuestAddress(at))
        .map_err(|source| Error::Write { what: "boot_params", source })?;
    Ok(at)
}

fn fill(facts: &Facts, setup: Option<&setup_header>) -> boot_params {
    let fresh = || setup_header {
        header: HEADER_MAGIC,
        boot_flag: BOOT_FLAG,
        version: VERSION,
        ..setup_header::default()
    };
    let mut params =
        boot_params { hdr: setup.copied().unwrap_or_else(fresh), ..Default::default() };
    params.hdr.type_of_loader = LOADER_UNDEFINED;
    params.hdr.loadflags |= LOADED_HIGH;
    params.hdr.cmd_line_ptr = low(layout::CMDLINE.start);
    params.hdr.cmdline_size = u32::try_from(facts.cmdline_len).expect("composed to fit its place");
    if let Some(initrd) = &facts.initrd {
        params.hdr.ramdisk_image = low(initrd.start);
        params.hdr.ramdisk_size = low(initrd.end - initrd.start);
    }
    params.acpi_rsdp_addr = facts.rsdp;
    let map = layout::memory_map(facts.ram);
    for (entry, (range, used_as)) in params.e820_table.iter_mut().zip(&map) {
        let r#type = match used_as {
            Use::Ram => E820_RAM,
            Use::Reserved => E820_RESERVED,
        };
        *entry = boot_e820_entry { addr: range.start, size: range.end - range.start, r#type };
        params.e820_entries += 1;
    }
    params
}

fn low(address: u64) -> u32 {
    u32::try_from(address).expect("placed below the gap, so below 4 GiB")
}
