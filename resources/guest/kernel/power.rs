//! How a run ends.
#![allow(unsafe_code, reason = "the ends of a machine are behind ports; entry.s calls by name")]

use core::{fmt, ptr};

use crate::acpi::{Place, SoftOff};
use crate::console::{last_line, say};
use crate::cpu;

/// The port whose written byte ends the machine with that status.
const DEBUG_EXIT: u16 = 0xf4;
/// The keyboard controller's command port, and its command to reset the machine.
const I8042: u16 = 0x64;
const I8042_RESET: u8 = 0xfe;

/// What went wrong, as the status the machine ends with.
#[derive(Clone, Copy)]
pub enum Failure {
    /// A check found something else than it should.
    Check = 1,
    /// The command line asks for what there is not.
    Orders = 2,
    /// A device is missing, broken, or answered with an error.
    Device = 3,
    /// An exception.
    Exception = 4,
    /// A panic.
    Panic = 5,
}

/// Cycles until a way to end the machine counts as missing: monitors may take a moment.
const PATIENCE: u64 = 1 << 31;

/// Ends the machine with `status`; without a debug-exit port, by a reset.
pub fn exit(status: u8) -> ! {
    // SAFETY: the write ends the machine, or nothing listens.
    unsafe { cpu::write_port(DEBUG_EXIT, status) };
    reboot()
}

/// Powers off as ACPI says.
pub fn off(how: Option<SoftOff>) -> ! {
    match how {
        Some(SoftOff::SleepControl { register: Place::Memory(address), value }) => {
            let register = ptr::with_exposed_provenance_mut::<u8>(address);
            // SAFETY: ACPI says that this register powers off.
            unsafe { register.write_volatile(value) };
        }
        // SAFETY: ACPI says that this register powers off.
        Some(SoftOff::SleepControl { register: Place::Port(port), value }) => unsafe {
            cpu::write_port(port, value);
        },
        // SAFETY: ACPI says that this register powers off.
        Some(SoftOff::Pm1 { port, value }) => unsafe { cpu::write_port16(port, value) },
        None => fail!(Device, "ACPI does not say how to power off"),
    }
    be_patient();
    fail!(Device, "ACPI's way to power off did nothing")
}

fn be_patient() {
    let begun = cpu::tsc();
    while cpu::tsc().wrapping_sub(begun) < PATIENCE {
        core::hint::spin_loop();
    }
}

/// Resets the machine; without a keyboard controller, by a shutdown.
pub fn reboot() -> ! {
    // SAFETY: the write ends the machine, or nothing listens.
    unsafe { cpu::write_port(I8042, I8042_RESET) };
    be_patient();
    cpu::triple_fault()
}

/// Says what failed and ends the machine.
pub fn end(failure: Failure, text: fmt::Arguments) -> ! {
    last_line("guest: FAIL ", text);
    exit(failure as u8)
}

/// Ends the machine, saying why: `fail!(Device, "disk {disk}: no answer")`.
macro_rules! fail {
    ($failure:ident, $($arg:tt)*) => {
        $crate::power::end($crate::power::Failure::$failure, format_args!($($arg)*))
    };
}
pub(crate) use fail;

#[panic_handler]
fn panicked(info: &core::panic::PanicInfo) -> ! {
    fail!(Panic, "{info}")
}

/// Where entry.s brings every exception.
#[unsafe(no_mangle)]
extern "C" fn trap_report(vector: u64, error: u64, rip: usize, cs: u64, cr2: usize) -> ! {
    let ring = cs & 3;
    fail!(Exception, "exception {vector} error={error:#x} rip={rip:#x} cpl={ring} cr2={cr2:#x}")
}

/// `core` was compiled to unwind and refers to these; nothing here unwinds.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    say!("unwound");
    exit(Failure::Panic as u8)
}
