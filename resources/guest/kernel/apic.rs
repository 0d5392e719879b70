//! Interrupt controllers: the local APIC of each processor (Intel SDM 3A, chapter 11, "APIC") and
//! the I/O APICs (82093AA).
#![allow(unsafe_code, reason = "interrupt controllers are reached by address")]

use core::ptr;

use crate::acpi::IoApic;
use crate::cpu::{Interrupt, LOCAL_APIC};
use crate::power::fail;

const ID: usize = 0x20;
const SPURIOUS: usize = 0xf0;
const COMMAND: usize = 0x300;
const COMMAND_TARGET: usize = 0x310;
const TIMER: usize = 0x320;
const LINT0: usize = 0x350;
const TIMER_START: usize = 0x380;
const TIMER_COUNT: usize = 0x390;
const TIMER_DIVISOR: usize = 0x3e0;

const ENABLED: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
const PERIODIC: u32 = 1 << 17;
const DIVIDE_BY_16: u32 = 3;
const COMMAND_BUSY: u32 = 1 << 12;
/// Spurious interrupts' vector; entry.s has the code.
const SPURIOUS_VECTOR: u32 = 0x23;

/// Edge-triggered, active high, fixed, to the vector in the low byte.
const REDIRECTION: u32 = 0x10;
/// All processors, by physical address: idle ones look and halt again.
const EVERYONE: u32 = 0xff << 24;

/// What one processor tells others.
#[derive(Clone, Copy)]
pub enum Message {
    /// To one: back to the state after reset.
    Init(u8),
    /// To one: start in real mode at this page.
    Startup(u8, u8),
    /// To all others: there is work.
    Wake,
}

/// Makes this processor's APIC accept interrupts, and none from the old controller behind LINT0.
pub fn open() {
    write(LINT0, MASKED);
    write(SPURIOUS, ENABLED | SPURIOUS_VECTOR);
}

/// This processor's id.
pub fn id() -> u8 {
    (read(ID) >> 24) as u8
}

/// Sends a message.
pub fn send(message: Message) {
    let (target, command) = match message {
        Message::Init(id) => (id, 0x4500),
        Message::Startup(id, page) => (id, 0x4600 | u32::from(page)),
        Message::Wake => (0, 0xc_4000 | u32::from(Interrupt::Wake.vector())),
    };
    write(COMMAND_TARGET, u32::from(target) << 24);
    write(COMMAND, command);
    while read(COMMAND) & COMMAND_BUSY != 0 {
        core::hint::spin_loop();
    }
}

/// Starts the timer: an interrupt after `count` of its ticks, or each time so many have passed.
pub fn start_timer(count: u32, periodic: bool) {
    let vector = u32::from(Interrupt::Timer.vector());
    write(TIMER, vector | if periodic { PERIODIC } else { 0 });
    write(TIMER_DIVISOR, DIVIDE_BY_16);
    write(TIMER_START, count);
}

/// Stops the timer.
pub fn stop_timer() {
    write(TIMER_START, 0);
}

/// Runs the timer without an interrupt from `u32::MAX` downwards, to see its speed.
pub fn count_down() {
    write(TIMER, MASKED);
    write(TIMER_DIVISOR, DIVIDE_BY_16);
    write(TIMER_START, u32::MAX);
}

/// What the timer has left.
pub fn timer_left() -> u32 {
    read(TIMER_COUNT)
}

/// Sends interrupt `gsi` as [`Interrupt::Device`] to every processor.
pub fn route(controllers: &[IoApic], gsi: u32) {
    let holder = controllers
        .iter()
        .filter(|controller| controller.first_gsi <= gsi)
        .max_by_key(|controller| controller.first_gsi);
    let Some(controller) = holder else {
        fail!(Device, "no I/O APIC has interrupt {gsi}");
    };
    let entry = REDIRECTION + 2 * (gsi - controller.first_gsi);
    write_io_apic(*controller, entry + 1, EVERYONE);
    write_io_apic(*controller, entry, Interrupt::Device.vector().into());
}

fn write_io_apic(controller: IoApic, index: u32, value: u32) {
    let registers = ptr::with_exposed_provenance_mut::<u32>(controller.address);
    // SAFETY: ACPI says that the register that selects is there.
    unsafe { registers.write_volatile(index) };
    // SAFETY: and this is its window.
    unsafe { registers.wrapping_byte_add(0x10).write_volatile(value) };
}

fn read(register: usize) -> u32 {
    // SAFETY: a processor's own APIC is at this address; reading has no side effect.
    unsafe { ptr::with_exposed_provenance::<u32>(LOCAL_APIC + register).read_volatile() }
}

fn write(register: usize, value: u32) {
    // SAFETY: a processor's own APIC is at this address, and interrupts stay off at CPL3.
    unsafe { ptr::with_exposed_provenance_mut::<u32>(LOCAL_APIC + register).write_volatile(value) }
}
