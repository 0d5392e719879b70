//! Time: the time-stamp counter, whose speed is found once, when first wanted.
#![allow(unsafe_code, reason = "clocks are behind ports and registers")]

use core::sync::atomic::{AtomicU64, Ordering};

use crate::apic;
use crate::cpu::{self, Cpu};
use crate::memory::Shared;
use crate::power::fail;

/// Cycles in a second; 0 before it is known.
static SPEED: AtomicU64 = AtomicU64::new(0);

const SECOND: u64 = 1_000_000_000;

/// Cycles in a second.
pub fn speed() -> u64 {
    match SPEED.load(Ordering::Relaxed) {
        0 => {
            let found = said_by_kvm().or_else(said_by_cpuid).or_else(measured);
            let Some(speed) = found else {
                fail!(
                    Device,
                    "no KVM clock, CPUID leaf or PIT tells the time-stamp counter's speed"
                );
            };
            SPEED.store(speed, Ordering::Relaxed);
            speed
        }
        speed => speed,
    }
}

/// Nanoseconds, of cycles.
pub fn nanoseconds(cycles: u64) -> u64 {
    (u128::from(cycles) * u128::from(SECOND) / u128::from(speed())) as u64
}

/// Microseconds since `start`, a reading of the time-stamp counter.
pub fn microseconds_since(start: u64) -> u64 {
    nanoseconds(cpu::tsc().wrapping_sub(start)) / 1000
}

/// Cycles, of milliseconds.
pub fn cycles(milliseconds: u64) -> u64 {
    milliseconds.saturating_mul(speed() / 1000)
}

/// Halts until at least so long has passed: each time for half of what is left, because the
/// timer's speed was measured in a moment in which the host may have been busy.
pub fn sleep(cpu: &Cpu, milliseconds: u64) {
    const SHORTEST: u32 = 1000;
    let start = cpu::tsc();
    let whole = cycles(milliseconds);
    let ticks = u128::from(ticks_per_second());
    loop {
        let passed = cpu::tsc().wrapping_sub(start);
        if passed >= whole {
            return;
        }
        let left = u128::from((whole - passed) / 2);
        let left = u32::try_from(left * ticks / u128::from(speed())).unwrap_or(u32::MAX);
        apic::start_timer(left.max(SHORTEST), false);
        cpu.wait();
    }
}

/// The speed of the local APIC's timer, measured for a fifth of a millisecond.
pub fn ticks_per_second() -> u32 {
    let start = cpu::tsc();
    apic::count_down();
    while cpu::tsc().wrapping_sub(start) < speed() / 5000 {
        core::hint::spin_loop();
    }
    let ticks = u32::MAX - apic::timer_left();
    let passed = cpu::tsc().wrapping_sub(start);
    apic::stop_timer();
    let speed = u128::from(ticks) * u128::from(speed()) / u128::from(passed);
    u32::try_from(speed).unwrap_or(u32::MAX).max(1)
}

/// The first CPUID leaves of a hypervisor, and of its own features (Linux,
/// Documentation/virt/kvm/x86/cpuid.rst).
const HYPERVISOR: u32 = 0x4000_0000;
const KVM: [u32; 3] =
    [u32::from_le_bytes(*b"KVMK"), u32::from_le_bytes(*b"VMKV"), u32::from_le_bytes(*b"M\0\0\0")];
const KVM_CLOCK: u32 = 1 << 3;
const MSR_KVM_SYSTEM_TIME_NEW: u32 = 0x4b56_4d01;

/// KVM's clock says by what a cycle count is multiplied and shifted to become nanoseconds
/// (Documentation/virt/kvm/x86/msr.rst).
fn said_by_kvm() -> Option<u64> {
    let [_, signature @ ..] = cpu::cpuid(HYPERVISOR);
    if signature != KVM || cpu::cpuid(HYPERVISOR + 1)[0] & KVM_CLOCK == 0 {
        return None;
    }
    let time = Shared::<u32>::new(8, 0);
    // SAFETY: KVM writes 32 bytes, which are this array's.
    unsafe { cpu::write_msr(MSR_KVM_SYSTEM_TIME_NEW, time.address() | 1) };
    let (multiplier, shift) = (time.get(6), time.get(7) as u8 as i8);
    // SAFETY: KVM writes there no more.
    unsafe { cpu::write_msr(MSR_KVM_SYSTEM_TIME_NEW, 0) };
    if multiplier == 0 {
        return None;
    }
    let cycles = (u128::from(SECOND) << 32) / u128::from(multiplier);
    let cycles = if shift < 0 { cycles << shift.unsigned_abs() } else { cycles >> shift };
    u64::try_from(cycles).ok()
}

/// Intel's leaf 0x15, and the leaf of VMware's that other hypervisors have too, in kHz.
fn said_by_cpuid() -> Option<u64> {
    const TSC: u32 = 0x15;
    const TIMING: u32 = HYPERVISOR + 0x10;
    if cpu::cpuid(0)[0] >= TSC {
        let [denominator, numerator, crystal, _] = cpu::cpuid(TSC);
        if denominator != 0 && numerator != 0 && crystal != 0 {
            return Some(u64::from(crystal) * u64::from(numerator) / u64::from(denominator));
        }
    }
    let [last, ..] = cpu::cpuid(HYPERVISOR);
    let khz = if (TIMING..HYPERVISOR + 0x100).contains(&last) { cpu::cpuid(TIMING)[0] } else { 0 };
    (khz != 0).then(|| u64::from(khz) * 1000)
}

/// Counts cycles while channel 0 of the PIT (8254) counts a hundredth of a second down. Without a
/// PIT the count stands still.
fn measured() -> Option<u64> {
    const CHANNEL_0: u16 = 0x40;
    const COMMAND: u16 = 0x43;
    const ONE_SHOT: u8 = 0x30;
    const LATCH: u8 = 0;
    const PER_SECOND: u64 = 1_193_182;
    const LIMIT: u64 = 1 << 30;
    // SAFETY: these ports are the PIT's or nobody's, and its interrupt goes nowhere.
    let write = |port, value| unsafe { cpu::write_port(port, value) };
    // SAFETY: as `write`.
    let read = || u64::from(unsafe { cpu::read_port(CHANNEL_0) });
    write(COMMAND, ONE_SHOT);
    write(CHANNEL_0, 0xff);
    write(CHANNEL_0, 0xff);
    let start = cpu::tsc();
    loop {
        write(COMMAND, LATCH);
        let counted = 0xffff - (read() | read() << 8);
        let passed = cpu::tsc().wrapping_sub(start);
        if counted >= PER_SECOND / 100 {
            return Some(passed * PER_SECOND / counted);
        }
        if counted == 0 && passed > LIMIT {
            return None;
        }
    }
}
