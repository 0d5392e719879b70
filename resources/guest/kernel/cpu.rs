//! A processor's own tables, and what only the CPL0 code of entry.s can do for it.
#![allow(unsafe_code, reason = "instructions that Rust has no words for")]

use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

global_asm!(include_str!("entry.s"));

/// CPL0 code and data, CPL3 data and code, after the null descriptor. The TSS follows.
const SEGMENTS: [u64; 5] =
    [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x00cf_f300_0000_ffff, 0x00af_fb00_0000_ffff];

/// The registers of the local APIC, at the same address for every processor.
pub const LOCAL_APIC: usize = 0xfee0_0000;

/// Where a processor enters CPL3; entry.s passes these.
pub type Start = unsafe extern "C" fn(cpu: &'static Cpu, params: usize, protocol: u64) -> !;

/// The interrupts a processor takes, in the order of their vectors.
#[derive(Clone, Copy)]
pub enum Interrupt {
    /// A virtio device.
    Device,
    /// The local APIC's timer.
    Timer,
    /// Another processor has work for this one.
    Wake,
}

impl Interrupt {
    /// Its vector; entry.s has the code.
    pub const fn vector(self) -> u8 {
        0x20 + self as u8
    }
}

/// What entry.s needs of a processor, at offsets it knows; what is left of the page is the
/// processor's CPL0 stack.
#[repr(C, align(4096))]
pub struct Cpu {
    gdt: [u64; 7],
    _pad: [u16; 7],
    /// The operand of `lgdt` is ten bytes from here.
    gdt_limit: u16,
    gdt_base: u64,
    start: Start,
    /// The top of the CPL3 stack.
    stack: *const u8,
    taken: [AtomicU64; 3],
    /// The task state. Only RSP0, the top of this page, is used; it stands at byte 4.
    tss: [u32; 26],
    /// 0 is the boot processor.
    pub index: usize,
    stack0: [AtomicU64; 483],
}

const _: () = assert!(size_of::<Cpu>() == 4096);
const _: () = assert!(offset_of!(Cpu, gdt_limit) == 0x46);
const _: () = assert!(offset_of!(Cpu, gdt_base) == 0x48);
const _: () = assert!(offset_of!(Cpu, start) == 0x50);
const _: () = assert!(offset_of!(Cpu, stack) == 0x58);

// SAFETY: `stack` is an address for entry.s; nothing here dereferences it.
unsafe impl Sync for Cpu {}

impl Cpu {
    /// The tables of processor `index`, to be placed at `address`. `stack_end` is the end of its
    /// CPL3 stack, 16-byte aligned.
    pub const fn new(address: u64, index: usize, start: Start, stack_end: *const u8) -> Cpu {
        let tss = address + offset_of!(Cpu, tss) as u64;
        let tss_low = 103 | (tss & 0xff_ffff) << 16 | 0x89 << 40 | (tss >> 24 & 0xff) << 56;
        let [null, code0, data0, data3, code3] = SEGMENTS;
        let top = address + size_of::<Cpu>() as u64;
        let mut task = [0; 26];
        task[1] = top as u32;
        task[2] = (top >> 32) as u32;
        Cpu {
            gdt: [null, code0, data0, data3, code3, tss_low, tss >> 32],
            _pad: [0; 7],
            gdt_limit: 55,
            gdt_base: address + offset_of!(Cpu, gdt) as u64,
            start,
            // As after a call: the return address's place is taken.
            stack: stack_end.wrapping_sub(8),
            taken: [const { AtomicU64::new(0) }; 3],
            tss: task,
            index,
            stack0: [const { AtomicU64::new(0) }; 483],
        }
    }

    /// How often it took this interrupt.
    pub fn taken(&self, interrupt: Interrupt) -> u64 {
        self.taken[interrupt as usize].load(Ordering::Relaxed)
    }

    /// Halts until at least one interrupt was taken. One that is pending already counts: they
    /// are off except here, so none is missed between a look and this call.
    pub fn wait(&self) {
        let gate = Gate::Wait as u64;
        // SAFETY: the gate's code and the interrupts' (entry.s) write the counters, the local
        // APIC and this processor's CPL0 stack, nothing else.
        unsafe {
            asm!("int3", in("rax") gate, in("rcx") &raw const self.taken, in("rdx") LOCAL_APIC)
        }
    }
}

/// The CPL0 code that CPL3 asks for by int3, in the order of entry.s's `gates`; one of those is
/// entry.s's own.
enum Gate {
    Wait,
    Cpuid,
    WriteMsr,
    ReadPort,
    WritePort,
    WritePort16,
    Print,
    Ud2,
    Int3,
    TripleFault = 10,
}

/// CPUID, asked at CPL0: at CPL3 some hosts answer for the host's own processor.
pub fn cpuid(leaf: u32) -> [u32; 4] {
    let (a, b, c, d): (u64, u64, u32, u32);
    // SAFETY: the gate executes CPUID; rbx, which the compiler reserves, is kept.
    unsafe {
        asm!("mov {b}, rbx", "int3", "xchg {b}, rbx", b = out(reg) b,
            inout("rax") Gate::Cpuid as u64 => a, inout("ecx") leaf => c, out("edx") d);
    }
    [a as u32, b as u32, c, d]
}

/// Writes a model-specific register.
///
/// # Safety
/// What the register does with `value` must leave the program sound.
pub unsafe fn write_msr(register: u32, value: u64) {
    // SAFETY: the gate executes WRMSR; the caller answers for its effect.
    unsafe {
        asm!("int3", inout("rax") Gate::WriteMsr as u64 => _, in("ecx") register,
            in("edi") value as u32, in("edx") (value >> 32) as u32);
    }
}

/// Reads a byte from a port.
///
/// # Safety
/// What a read does at this port must leave the program sound.
pub unsafe fn read_port(port: u16) -> u8 {
    let value: u64;
    // SAFETY: the caller answers for the effect.
    unsafe { asm!("int3", inout("rax") Gate::ReadPort as u64 => value, in("dx") port) }
    value as u8
}

/// Writes a byte to a port.
///
/// # Safety
/// What a write does at this port must leave the program sound.
pub unsafe fn write_port(port: u16, value: u8) {
    // SAFETY: the caller answers for the effect.
    unsafe {
        asm!("int3", inout("rax") Gate::WritePort as u64 => _, in("dx") port, in("cl") value);
    }
}

/// Writes a word to a port.
///
/// # Safety
/// As [`write_port`].
pub unsafe fn write_port16(port: u16, value: u16) {
    // SAFETY: the caller answers for the effect.
    unsafe {
        asm!("int3", inout("rax") Gate::WritePort16 as u64 => _, in("dx") port, in("cx") value);
    }
}

/// Sends at most 16 bytes to COM1 once its transmitter is empty: so many it takes at a time.
pub fn print16(text: &[u8]) {
    let text = &text[..text.len().min(16)];
    // SAFETY: the gate reads the bytes of `text` and uses ports of COM1.
    unsafe {
        asm!("int3", inout("rax") Gate::Print as u64 => _, inout("rsi") text.as_ptr() => _,
            inout("rcx") text.len() => _, inout("edx") 0x3fd => _);
    }
}

/// Executes INT3 at CPL0, which hosts that interpret CPL0 may not know.
pub fn int3() -> ! {
    // SAFETY: the gate's exception ends the run.
    unsafe { asm!("int3", in("rax") Gate::Int3 as u64, options(noreturn)) }
}

/// Executes UD2 at CPL0.
pub fn ud2() -> ! {
    // SAFETY: the gate's exception ends the run.
    unsafe { asm!("int3", in("rax") Gate::Ud2 as u64, options(noreturn)) }
}

/// Shuts the processor down: an exception without an IDT.
pub fn triple_fault() -> ! {
    let no_idt = [0_u16; 5];
    // SAFETY: the shutdown ends the run.
    unsafe {
        asm!("int3", in("rax") Gate::TripleFault as u64, in("rcx") &raw const no_idt,
            options(noreturn));
    }
}

/// The time-stamp counter.
pub fn tsc() -> u64 {
    // SAFETY: RDTSC is in every x86-64 processor and CR4.TSD is clear.
    unsafe { core::arch::x86_64::_rdtsc() }
}
