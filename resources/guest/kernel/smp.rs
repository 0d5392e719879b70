//! The other processors: started one by one, then halted until there is work.
#![allow(unsafe_code, reason = "processors start with copied code, and share a task")]

use alloc::boxed::Box;
use core::mem::{MaybeUninit, transmute};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use crate::apic::{self, Message};
use crate::cpu::{self, Cpu};
use crate::layout::TRAMPOLINE;
use crate::lock::Lock;
use crate::memory::Stack;
use crate::power::fail;

/// Cycles after which a processor that was told to start is given up.
const PATIENCE: u64 = 1 << 35;

unsafe extern "C" {
    /// From entry.s: what a started processor executes, at [`TRAMPOLINE`].
    static trampoline: u8;
    static trampoline_end: u8;
}

/// For entry.s: whose tables the processor that now starts is to use.
#[unsafe(export_name = "starting")]
static STARTING: AtomicPtr<Cpu> = AtomicPtr::new(ptr::null_mut());

/// Processors at work or halted, the boot processor included.
static ONLINE: AtomicUsize = AtomicUsize::new(1);

/// Work for several processors.
type Task = &'static (dyn Fn(&'static Cpu) + Sync);

/// The latest task, as [`round`] times 0x1_0000 and its number of processors: one value, so that
/// a processor that looks late sees that it is not meant.
static CALL: AtomicUsize = AtomicUsize::new(0);
static TASK: Lock<Option<Task>> = Lock::new(None);
/// Processors that have not finished the latest task.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// How many processors run.
pub fn online() -> usize {
    ONLINE.load(Ordering::Acquire)
}

/// Copies the code that processors start with.
///
/// # Safety
/// [`TRAMPOLINE`]'s page is RAM that nobody needs any more.
pub unsafe fn open() {
    let start = &raw const trampoline;
    let length = (&raw const trampoline_end).addr() - start.addr();
    let place = ptr::with_exposed_provenance_mut::<u8>(TRAMPOLINE);
    // SAFETY: the code is within a page, and the caller gives one.
    unsafe { ptr::copy_nonoverlapping(start, place, length) };
}

/// Starts the processor whose local APIC has this id. [`open`] was called.
pub fn start(apic_id: u8) {
    let index = online();
    let cpu: &'static mut MaybeUninit<Cpu> = Box::leak(Box::new_uninit());
    let stack: &'static mut MaybeUninit<Stack> = Box::leak(Box::new_uninit());
    let stack_end = stack.as_ptr().wrapping_add(1).cast();
    let address = cpu.as_ptr().expose_provenance() as u64;
    let cpu = cpu.write(Cpu::new(address, index, run, stack_end));
    STARTING.store(cpu, Ordering::Release);
    apic::send(Message::Init(apic_id));
    apic::send(Message::Startup(apic_id, (TRAMPOLINE >> 12) as u8));
    let begun = cpu::tsc();
    while online() == index {
        if cpu::tsc().wrapping_sub(begun) > PATIENCE {
            fail!(Device, "processor {index} (APIC {apic_id}) does not start");
        }
        core::hint::spin_loop();
    }
}

/// Runs `task` on the first `workers` processors, this one being the first, and waits for all.
pub fn together(cpu: &'static Cpu, workers: usize, task: &(dyn Fn(&'static Cpu) + Sync)) {
    // SAFETY: only the lifetime changes. Who is meant by this call is waited for below; who is
    // not does not look at TASK.
    let forever = unsafe { transmute::<&(dyn Fn(&'static Cpu) + Sync), Task>(task) };
    *TASK.lock() = Some(forever);
    BUSY.store(workers - 1, Ordering::Relaxed);
    let round = CALL.load(Ordering::Relaxed) >> 16;
    CALL.store((round + 1) << 16 | workers, Ordering::Release);
    if workers > 1 {
        apic::send(Message::Wake);
    }
    task(cpu);
    while BUSY.load(Ordering::Acquire) > 0 {
        core::hint::spin_loop();
    }
}

/// Where entry.s brings a started processor.
extern "C" fn run(cpu: &'static Cpu, _params: usize, _protocol: u64) -> ! {
    apic::open();
    let mut seen = CALL.load(Ordering::Acquire);
    ONLINE.fetch_add(1, Ordering::Release);
    loop {
        let call = CALL.load(Ordering::Acquire);
        if call == seen {
            cpu.wait();
            continue;
        }
        seen = call;
        if cpu.index < call & 0xffff {
            let task = *TASK.lock();
            task.into_iter().for_each(|task| task(cpu));
            BUSY.fetch_sub(1, Ordering::Release);
        }
    }
}
