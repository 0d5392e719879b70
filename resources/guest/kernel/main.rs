//! The tiny guest.
#![no_std]
#![no_main]

extern crate alloc;

mod acpi;
#[path = "../src/shared/aml.rs"]
mod aml;
#[path = "../src/shared/area.rs"]
mod area;
mod blk;
mod boot;
#[path = "../src/shared/cmdline.rs"]
mod cmdline;
mod console;
mod cpu;
mod drive;
mod layout;
mod lock;
mod machine;
mod memory;
#[path = "../src/shared/orders.rs"]
mod orders;
#[path = "../src/shared/pattern.rs"]
mod pattern;
mod power;
mod steps;
mod virtio;

use boot::Boot;
use cpu::Cpu;
use machine::Machine;

core::arch::global_asm!(include_str!("entry.s"));
core::arch::global_asm!(include_str!("bytes.s"));

#[unsafe(no_mangle)]
static mut starting: *const Cpu = core::ptr::null();

/// Where entry.s brings the boot processor at CPL3; it has printed the `g` of `guest: ` already.
extern "C" fn start(cpu: &'static Cpu, params: usize, protocol: u64) -> ! {
    console::open();
    console::line("uest: ", format_args!("first instruction"));
    // SAFETY: entry.s passes on what the monitor gave it.
    let boot = unsafe { Boot::read(params, protocol) };
    // SAFETY: the monitor says where it put ACPI's tables.
    let mut machine = unsafe { Machine::find(cpu, boot) };
    steps::run(&mut machine);
    power::exit(0)
}
