//! The tiny guest: a kernel that does what its command line orders, and ends.
//!
//! ```text
//!  entry.s ──► start ──► Boot ──► Machine ──► steps ──► power
//!  CPL0        CPL3      what the  ACPI, the   each      exit, off,
//!                        monitor   command     order     reboot
//!                        says      line                  or FAIL
//! ```
//!
//! It is a test program: whatever is not as it should be ends the run at once, with a line that
//! says what and a status that says of which kind (power.rs). So nothing here returns errors.
//!
//! Rust runs at CPL3, one stack for each processor, all memory below 4 GiB mapped to itself,
//! interrupts off; cpu.rs says what CPL0 does for it. ../build.rs compiles this, and the plain
//! logic in ../src/shared is compiled, and tested, on the host too.
#![no_std]
#![no_main]
#![deny(unsafe_code, unsafe_op_in_unsafe_fn)]
#![warn(
    clippy::dbg_macro,
    clippy::multiple_unsafe_ops_per_block,
    clippy::todo,
    clippy::undocumented_unsafe_blocks,
    clippy::unimplemented,
    clippy::unwrap_used
)]

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
#[path = "../src/shared/grammar.rs"]
mod grammar;
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

/// Where entry.s brings the boot processor at CPL3; it has printed the `g` of `guest: ` already.
extern "C" fn start(cpu: &'static Cpu, params: usize, protocol: u64) -> ! {
    console::open();
    console::line("uest: ", format_args!("first instruction"));
    apic::open();
    #[allow(unsafe_code, reason = "this is where the monitor's word comes in")]
    // SAFETY: entry.s passes on what the monitor gave it.
    let params = unsafe { Handover::at(params) };
    let mut machine = Machine::find(cpu, Boot::read(params, protocol));
    steps::run(&mut machine);
    power::exit(0)
}
