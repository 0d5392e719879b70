//! `hvm_start_info`, by which PVH kernels learn of their surroundings (Xen's
//! public/arch-x86/hvm/start_info.h, version 1).
//!
//! The structure, its one module and its memory map follow each other in one page.

use linux_loader::loader::elf::start_info::{
    XEN_HVM_MEMMAP_TYPE_RAM, XEN_HVM_MEMMAP_TYPE_RESERVED, XEN_HVM_START_MAGIC_VALUE,
    hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use vm_memory::{Bytes, GuestAddress};

use super::{Error, Facts, Result};
use crate::layout::{self, Use};
use crate::memory::GuestMemory;

const INFO: u64 = layout::START_INFO.start;
const MODULES: u64 = INFO + size_of::<hvm_start_info>() as u64;
const MEMORY_MAP: u64 = MODULES + size_of::<hvm_modlist_entry>() as u64;

/// Writes the page; returns its address.
pub(super) fn write(facts: &Facts, memory: &GuestMemory) -> Result<u64> {
    let map = layout::memory_map(facts.ram);
    let info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: 1,
        cmdline_paddr: layout::CMDLINE.start,
        rsdp_paddr: facts.rsdp,
        nr_modules: u32::from(facts.initrd.is_some()),
        modlist_paddr: if facts.initrd.is_some() { MODULES } else { 0 },
        memmap_paddr: MEMORY_MAP,
        memmap_entries: u32::try_from(map.len()).expect("two entries, and one for each region"),
        ..hvm_start_info::default()
    };
    let what = "hvm_start_info";
    let failed = |source| Error::Write { what, source };
    memory.write_obj(info, GuestAddress(INFO)).map_err(failed)?;
    if let Some(initrd) = &facts.initrd {
        let module = hvm_modlist_entry {
            paddr: initrd.start,
            size: initrd.end - initrd.start,
            ..hvm_modlist_entry::default()
        };
        memory.write_obj(module, GuestAddress(MODULES)).map_err(failed)?;
    }
    let mut at = MEMORY_MAP;
    for (range, used_as) in map {
        let entry = hvm_memmap_table_entry {
            addr: range.start,
            size: range.end - range.start,
            type_: match used_as {
                Use::Ram => XEN_HVM_MEMMAP_TYPE_RAM,
                Use::Reserved => XEN_HVM_MEMMAP_TYPE_RESERVED,
            },
            reserved: 0,
        };
        memory.write_obj(entry, GuestAddress(at)).map_err(failed)?;
        at += size_of::<hvm_memmap_table_entry>() as u64;
    }
    Ok(INFO)
}
