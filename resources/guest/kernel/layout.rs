//! Addresses, and the tables the processor reads: built at compile time, so that boot executes
//! nothing to make them.
//!
//! ```text
//! 0x0000_8000  TRAMPOLINE   where started processors begin, in real mode
//! 0x0100_0000  PAGE_TABLES  6 pages: the first 4 GiB mapped to themselves, 2 MiB pages, open to CPL3
//! 0x0100_6000  FIRST_CPU    cpu::Cpu of the boot processor: its GDT, TSS and CPL0 stack
//! 0x0100_7000  IDT
//! 0x0100_8000  VECTORS      code of vector v at VECTORS + 16 v (entry.s)
//!              ...          the rest of the program, then the heap to the end of that RAM
//! ```
//! link.ld asserts the same numbers.
#![allow(unsafe_code, reason = "the tables have sections and names of their own")]

use crate::cpu::Cpu;
use crate::memory::Stack;

/// Where started processors begin; below 1 MiB.
pub const TRAMPOLINE: usize = 0x8000;
/// The page tables.
const PAGE_TABLES: u64 = 0x100_0000;
/// The boot processor's [`Cpu`].
const FIRST_CPU: u64 = 0x100_6000;
/// Code of the interrupt vectors.
const VECTORS: u64 = 0x100_8000;
/// Exceptions, three interrupts, the spurious one.
const VECTOR_COUNT: usize = 0x24;
/// The vector that CPL3 may call: int3.
const GATE: usize = 3;

const PRESENT_WRITABLE_USER: u64 = 0x7;
/// Also accessed and dirty already, so the processor never writes to the tables.
const LARGE_PAGE: u64 = 0xe7;

#[repr(C, align(4096))]
struct PageTables([[u64; 512]; 6]);

#[used]
#[unsafe(export_name = "PAGE_TABLES")]
#[unsafe(link_section = ".tables.0")]
static TABLES: PageTables = page_tables();

static STACK: Stack = Stack::new();

#[used]
#[unsafe(export_name = "FIRST_CPU")]
#[unsafe(link_section = ".tables.1")]
static BOOT_CPU: Cpu = Cpu::new(FIRST_CPU, 0, crate::start, STACK.end());

#[repr(C, align(4096))]
struct Idt([[u64; 2]; VECTOR_COUNT]);

#[used]
#[unsafe(export_name = "IDT")]
#[unsafe(link_section = ".tables.2")]
static TABLE: Idt = idt();

const fn page_tables() -> PageTables {
    let mut tables = [[0; 512]; 6];
    tables[0][0] = (PAGE_TABLES + 0x1000) | PRESENT_WRITABLE_USER;
    let mut gib = 0;
    while gib < 4 {
        tables[1][gib] = (PAGE_TABLES + 0x2000 + 0x1000 * gib as u64) | PRESENT_WRITABLE_USER;
        let mut page = 0;
        while page < 512 {
            tables[2 + gib][page] = ((gib * 512 + page) as u64 * 0x20_0000) | LARGE_PAGE;
            page += 1;
        }
        gib += 1;
    }
    PageTables(tables)
}

/// Interrupt gates to the code segment 0x08.
const fn idt() -> Idt {
    let mut table = [[0; 2]; VECTOR_COUNT];
    let mut vector = 0;
    while vector < VECTOR_COUNT {
        let handler = VECTORS + 16 * vector as u64;
        let kind: u64 = if vector == GATE { 0xee } else { 0x8e };
        table[vector][0] =
            handler & 0xffff | 0x08 << 16 | kind << 40 | (handler >> 16 & 0xffff) << 48;
        table[vector][1] = handler >> 32;
        vector += 1;
    }
    Idt(table)
}
