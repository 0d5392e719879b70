//! Keeps a disk's queues full with a stream of requests.

use crate::apic;
use crate::blk::{Answer, Disk, Lane, Request, Status};
use crate::clock;
use crate::cpu::{self, Cpu, Interrupt};
use crate::orders::Io;
use crate::power::fail;

/// Cycles without any answer after which a disk counts as dead: half a minute or more.
const PATIENCE: u64 = 1 << 37;
/// The longest that counts between two looks: in more than that the machine was paused.
const LOOK: u64 = 1 << 32;
/// Seconds in which an interrupt has to follow its answer.
const INTERRUPT_PATIENCE: u64 = 10;

/// A stream of requests on one processor.
pub trait Work {
    /// The next request; `data` is its buffer, to fill for a write. `None` when there is no more.
    fn next(&mut self, data: &mut [u8]) -> Option<Request>;

    /// `request` was answered, after so many `cycles`; `data` is its buffer.
    fn done(&mut self, request: &Request, data: &mut [u8], cycles: u64);

    /// An answer that is not Ok ends the run, except where it is what the work is about.
    fn refused(&mut self, request: &Request, status: Status) {
        fail!(
            Device,
            "{:?} of {} bytes at {}: {status:?}",
            request.kind,
            request.length,
            request.start
        );
    }
}

/// Does `work` on processor `cpu` with its share of the disk's queues.
pub fn drive(cpu: &Cpu, disk: &Disk, io: &Io, work: &mut impl Work) {
    let mut lanes = disk.shares[cpu.index].lock();
    if io.interrupts {
        apic::start_timer(clock::ticks_per_second(), true);
    }
    let mut more = true;
    let mut flying = 0;
    for lane in lanes.iter_mut() {
        for slot in 0..lane.depth() {
            more = more && submit(lane, slot, work);
            flying += usize::from(more);
        }
        lane.queue.show();
    }
    let mut looked = cpu::tsc();
    let mut waited = 0;
    while flying > 0 {
        let mut answers = 0;
        for lane in lanes.iter_mut() {
            while let Some(answer) = lane.answer() {
                answers += 1;
                let slot = answer.slot;
                finish(lane, &answer, work);
                more = more && submit(lane, slot, work);
                flying -= usize::from(!more);
            }
            lane.queue.show();
        }
        let before = core::mem::replace(&mut looked, cpu::tsc());
        waited += looked.wrapping_sub(before).min(LOOK);
        if answers > 0 {
            waited = 0;
        } else if waited > PATIENCE {
            fail!(Device, "{}: {flying} requests without an answer", disk.registers);
        } else if io.interrupts {
            halt(cpu, disk, &lanes);
        } else {
            core::hint::spin_loop();
        }
    }
    if io.interrupts {
        apic::stop_timer();
    }
}

fn submit(lane: &mut Lane, slot: usize, work: &mut impl Work) -> bool {
    let Some(request) = work.next(lane.data(slot)) else { return false };
    lane.submit(slot, request);
    true
}

fn finish(lane: &mut Lane, answer: &Answer, work: &mut impl Work) {
    match answer.status {
        Status::Ok => work.done(&answer.request, lane.data(answer.slot), answer.cycles),
        status => work.refused(&answer.request, status),
    }
}

/// Halts until an interrupt, unless an answer came before the device knew that one is wanted.
///
/// The timer ticks each second, so that an answer is found whose interrupt was lost.
fn halt(cpu: &Cpu, disk: &Disk, lanes: &[Lane]) {
    let answered = || lanes.iter().any(|lane| lane.queue.answered());
    let (taken, ticks) = (cpu.taken(Interrupt::Device), cpu.taken(Interrupt::Timer));
    lanes.iter().for_each(|lane| lane.queue.want_interrupt(true));
    if answered() {
        return;
    }
    while cpu.taken(Interrupt::Timer) - ticks <= INTERRUPT_PATIENCE {
        cpu.wait();
        if cpu.taken(Interrupt::Device) != taken || !answered() {
            disk.registers.acknowledge();
            return;
        }
    }
    fail!(Device, "{}: an answer without its interrupt", disk.registers);
}
