//! Keeps a disk's queues full with a stream of requests.

use crate::blk::{Disk, Lane, Request, Status};
use crate::cpu::{self, Cpu};
use crate::orders::Io;
use crate::power::fail;

/// Cycles without any answer after which a disk counts as dead: half a minute or more.
const PATIENCE: u64 = 1 << 37;

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
    let mut begun = alloc::vec![0; lanes.iter().map(Lane::depth).sum()];
    let mut flying = 0;
    let mut more = true;
    for (lane, begun) in each_lane(&mut lanes, &mut begun) {
        for slot in 0..lane.depth() {
            more = more && submit(lane, slot, begun, work);
            flying += usize::from(more);
        }
        lane.queue.show();
    }
    let mut last = cpu::tsc();
    while flying > 0 {
        let mut answers = 0;
        for (lane, begun) in each_lane(&mut lanes, &mut begun) {
            while let Some((slot, request, status)) = lane.answer() {
                answers += 1;
                let cycles = cpu::tsc().wrapping_sub(begun[slot]);
                match status {
                    Status::Ok => work.done(&request, lane.data(slot), cycles),
                    status => work.refused(&request, status),
                }
                more = more && submit(lane, slot, begun, work);
                flying -= usize::from(!more);
            }
            lane.queue.show();
        }
        if answers > 0 {
            last = cpu::tsc();
        } else if cpu::tsc().wrapping_sub(last) > PATIENCE {
            fail!(Device, "{}: {flying} requests without an answer", disk.registers);
        } else if io.interrupts {
            halt(cpu, disk, &lanes);
        } else {
            core::hint::spin_loop();
        }
    }
}

/// Each queue, with its part of a list by slot.
fn each_lane<'a>(
    lanes: &'a mut [Lane],
    mut rest: &'a mut [u64],
) -> impl Iterator<Item = (&'a mut Lane, &'a mut [u64])> {
    lanes.iter_mut().map(move |lane| {
        let (part, after) = core::mem::take(&mut rest).split_at_mut(lane.depth());
        rest = after;
        (lane, part)
    })
}

fn submit(lane: &mut Lane, slot: usize, begun: &mut [u64], work: &mut impl Work) -> bool {
    let Some(request) = work.next(lane.data(slot)) else { return false };
    begun[slot] = cpu::tsc();
    lane.submit(slot, request);
    true
}

/// Halts until an interrupt, unless an answer came before the device knew that one is wanted.
fn halt(cpu: &Cpu, disk: &Disk, lanes: &[Lane]) {
    lanes.iter().for_each(|lane| lane.queue.want_interrupt(true));
    if !lanes.iter().any(|lane| lane.queue.answered()) {
        cpu.wait();
        disk.registers.acknowledge();
    }
}
