//! The state a boot protocol promises the kernel on the first vCPU.
//!
//! Linux: Documentation/arch/x86/boot.rst, "64-bit boot protocol". PVH: Xen's
//! docs/misc/pvh.pandoc, 32-bit protected mode without paging.

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use crate::layout;
use crate::memory::GuestMemory;

const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Bit 1 always reads as one; interrupts are off.
const RFLAGS: u64 = 1 << 1;

const PAGE: u64 = 4096;
/// Present and writable.
const TABLE: u64 = 0b11;
/// Present, writable, and a page of 2 MiB.
const LARGE_PAGE: u64 = 0b1000_0011;

/// `__BOOT_CS` and `__BOOT_DS`, as both protocols name them; then a task to be in.
const CODE: u16 = 0x10;
const DATA: u16 = 0x18;
const TASK: u16 = 0x20;

/// The descriptors of `CODE`, `DATA` and `TASK` as they lie in the table, null entries first.
const GDT_64: [u64; 5] =
    [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x0000_8b00_0000_0067];

/// 64-bit mode on an identity map of the first 4 GiB; rsi points to the zero page.
///
/// Writes the descriptor and page tables to where [`layout`] has room for them.
pub fn linux64(
    entry: u64,
    zero_page: u64,
    sregs: &mut kvm_sregs,
    memory: &GuestMemory,
) -> Result<kvm_regs, GuestMemoryError> {
    write_tables(memory)?;
    segments(sregs, kvm_segment { l: 1, db: 0, ..flat_code() });
    let limit = u16::try_from(size_of_val(&GDT_64) - 1).expect("five entries");
    sregs.gdt = kvm_dtable { base: layout::GDT.start, limit, ..Default::default() };
    sregs.cr3 = layout::PAGE_TABLES.start;
    sregs.cr4 = CR4_PAE;
    sregs.cr0 = CR0_PE | CR0_ET | CR0_PG;
    sregs.efer = EFER_LME | EFER_LMA;
    Ok(kvm_regs { rip: entry, rsi: zero_page, rflags: RFLAGS, ..Default::default() })
}

/// Flat 32-bit protected mode without paging; ebx points to the start info.
pub fn pvh(entry: u64, start_info: u64, sregs: &mut kvm_sregs) -> kvm_regs {
    segments(sregs, flat_code());
    sregs.cr4 = 0;
    sregs.cr0 = CR0_PE | CR0_ET;
    sregs.efer = 0;
    kvm_regs { rip: entry, rbx: start_info, rflags: RFLAGS, ..Default::default() }
}

fn segments(sregs: &mut kvm_sregs, code: kvm_segment) {
    let data = kvm_segment { selector: DATA, type_: 0x3, ..flat_code() };
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.cs = code;
    sregs.tr = kvm_segment { selector: TASK, type_: 0xb, s: 0, db: 0, limit: 0x67, g: 0, ..code };
    sregs.tr.l = 0;
}

/// Execute, read, accessed; 32-bit; base 0, limit 4 GiB.
fn flat_code() -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector: CODE,
        type_: 0xb,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    }
}

/// A PML4, a PDPT, and four page directories of 2 MiB pages.
fn write_tables(memory: &GuestMemory) -> Result<(), GuestMemoryError> {
    let gdt: Vec<u8> = GDT_64.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    memory.write_slice(&gdt, GuestAddress(layout::GDT.start))?;
    let pml4 = layout::PAGE_TABLES.start;
    let pdpt = pml4 + PAGE;
    let directories = pdpt + PAGE;
    memory.write_obj(pdpt | TABLE, GuestAddress(pml4))?;
    for gib in 0..4 {
        let directory = directories + gib * PAGE;
        memory.write_obj(directory | TABLE, GuestAddress(pdpt + gib * 8))?;
        let pages = (0..512).map(|index| (gib << 30) + (index << 21));
        let entries: Vec<u8> = pages.flat_map(|page| (page | LARGE_PAGE).to_le_bytes()).collect();
        memory.write_slice(&entries, GuestAddress(directory))?;
    }
    Ok(())
}
