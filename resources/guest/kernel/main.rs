//! The tiny guest.
#![no_std]
#![no_main]

extern crate alloc;

mod acpi;
#[path = "../src/shared/aml.rs"]
mod aml;
mod apic;
#[path = "../src/shared/area.rs"]
mod area;
mod blk;
mod boot;
mod clock;
#[path = "../src/shared/cmdline.rs"]
mod cmdline;
mod console;
mod cpu;
mod drive;
mod handover;
#[path = "../src/shared/histogram.rs"]
mod histogram;
mod layout;
mod lock;
mod machine;
mod memory;
#[path = "../src/shared/orders.rs"]
mod orders;
#[path = "../src/shared/pattern.rs"]
mod pattern;
mod power;
mod smp;
mod steps;
mod virtio;

use boot::Boot;
use cpu::Cpu;
use handover::Handover;
use machine::Machine;

core::arch::global_asm!(include_str!("entry.s"));
core::arch::global_asm!(include_str!("bytes.s"));

/// Where entry.s brings the boot processor at CPL3; it has printed the `g` of `guest: ` already.
extern "C" fn start(cpu: &'static Cpu, params: usize, protocol: u64) -> ! {
    console::open();
    apic::open();
    console::line("uest: ", format_args!("first instruction"));
    // SAFETY: entry.s passes on what the monitor gave it.
    let params = unsafe { Handover::at(params) };
    let mut machine = Machine::find(cpu, Boot::read(params, protocol));
    steps::run(&mut machine);
    power::exit(0)
}
