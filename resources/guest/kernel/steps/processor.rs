//! Orders that need no device.

use alloc::string::String;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::console::{self, say};
use crate::cpu::Cpu;
use crate::machine::Machine;
use crate::power::fail;
use crate::{apic, clock, memory, smp};

/// Starts every processor, and has each say who it is.
pub fn start_all(machine: &Machine) {
    let wanted = machine.acpi.cpus.len().max(1);
    machine.start_cpus(wanted);
    let answered = AtomicUsize::new(0);
    smp::together(machine.cpu, wanted, &|cpu| {
        say!("cpu {} apic {}", cpu.index, apic::id());
        answered.fetch_add(1, Ordering::Relaxed);
    });
    say!("cpus ok n={}", answered.into_inner());
}

/// Reads a line from the console and prints it; looks for input each millisecond.
pub fn echo(cpu: &Cpu) {
    say!("echo waits");
    let mut line = String::new();
    loop {
        match console::input() {
            Some(b'\r' | b'\n') => break,
            Some(byte) => line.push(byte.into()),
            None => clock::sleep(cpu, 1),
        }
    }
    say!("echo {line}");
}

/// Writes to each page of so much memory.
pub fn touch(bytes: u64) {
    let left = memory::left();
    let Some(bytes) = usize::try_from(bytes).ok().filter(|&bytes| bytes <= left) else {
        fail!(Orders, "there are {left} bytes of memory, not {bytes}");
    };
    memory::Buffers::new(1, bytes).touch();
    say!("touch ok bytes={bytes}");
}

pub fn sleep(cpu: &Cpu, milliseconds: u64) {
    let start = crate::cpu::tsc();
    clock::sleep(cpu, milliseconds);
    say!("sleep ok us={}", clock::microseconds_since(start));
}

/// Halts for good.
pub fn idle(cpu: &Cpu) -> ! {
    say!("idle");
    loop {
        cpu.wait();
    }
}

/// Never halts and never leaves the processor.
pub fn spin() -> ! {
    say!("spin");
    loop {
        core::hint::spin_loop();
    }
}
