//! Measures a disk: requests per second, and how long they take.

use crate::blk::{Disk, Kind, Request};
use crate::console::line;
use crate::drive::{self, Work};
use crate::histogram::Histogram;
use crate::lock::Lock;
use crate::machine::Machine;
use crate::orders::{Bench, Step};
use crate::power::fail;
use crate::{clock, cpu, smp};

/// Measures, and prints one line of JSON.
pub fn run(machine: &mut Machine, bench: &Bench, step: &Step) {
    let boot_cpu = machine.cpu;
    let io = &step.io;
    let disk = machine.disk(io);
    let (first, slots) = slots(disk, step);
    let sum = Lock::new((Histogram::default(), [0, 0]));
    let begun = cpu::tsc();
    let deadline = begun + clock::cycles(bench.milliseconds);
    smp::together(boot_cpu, io.cpus, &|cpu| {
        let share = slots / io.cpus as u64;
        let mut work = Load {
            bench,
            first,
            slots,
            size: io.size,
            deadline,
            random: begun ^ (cpu.index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            next: cpu.index as u64 * share,
            latencies: Histogram::default(),
            done: [0, 0],
        };
        drive::drive(cpu, disk, io, &mut work);
        let mut sum = sum.lock();
        sum.0.merge(&work.latencies);
        sum.1[0] += work.done[0];
        sum.1[1] += work.done[1];
    });
    let microseconds = clock::microseconds_since(begun).max(1);
    let sum = sum.lock();
    report(bench, step, &sum.0, sum.1, microseconds);
}

/// Where the area begins, and how many requests fit side by side.
fn slots(disk: &Disk, step: &Step) -> (u64, u64) {
    let end = step.area.end(disk.size).unwrap_or(0);
    let slots = end.saturating_sub(step.area.start) / step.io.size;
    if slots == 0 {
        fail!(Orders, "no request of {} bytes fits {:?}", step.io.size, step.area);
    }
    (step.area.start, slots)
}

fn report(bench: &Bench, step: &Step, latencies: &Histogram, done: [u64; 2], microseconds: u64) {
    let io = &step.io;
    let mode = if io.interrupts { "irq" } else { "poll" };
    let iops = (done[0] + done[1]) * 1_000_000 / microseconds;
    let percentile = |thousandths| clock::nanoseconds(latencies.percentile(thousandths));
    line(
        "guest: bench ",
        format_args!(
            "{{\"rw\":\"{}\",\"size\":{},\"depth\":{},\"queues\":{},\"cpus\":{},\"mode\":\"{mode}\",\
             \"us\":{microseconds},\"reads\":{},\"writes\":{},\"iops\":{iops},\"p50_ns\":{},\
             \"p90_ns\":{},\"p99_ns\":{},\"p999_ns\":{},\"max_ns\":{}}}",
            bench.name,
            io.size,
            io.depth,
            io.queues,
            io.cpus,
            done[0],
            done[1],
            percentile(500),
            percentile(900),
            percentile(990),
            percentile(999),
            clock::nanoseconds(latencies.max()),
        ),
    );
}

/// One processor's requests, until the deadline.
struct Load<'a> {
    bench: &'a Bench,
    first: u64,
    slots: u64,
    size: u64,
    deadline: u64,
    /// The state of xorshift64.
    random: u64,
    next: u64,
    latencies: Histogram,
    /// Reads, writes.
    done: [u64; 2],
}

impl Load<'_> {
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn slot(&mut self) -> u64 {
        if self.bench.random {
            return self.random() % self.slots;
        }
        let slot = self.next;
        self.next = (slot + 1) % self.slots;
        slot
    }
}

impl Work for Load<'_> {
    /// A write's data is what the buffer holds: what an earlier request left there.
    fn next(&mut self, _data: &mut [u8]) -> Option<Request> {
        if cpu::tsc() >= self.deadline {
            return None;
        }
        let read = self.random() % 100 < self.bench.reads;
        let start = self.first + self.slot() * self.size;
        let kind = if read { Kind::Read } else { Kind::Write };
        Some(Request { kind, start, length: self.size })
    }

    fn done(&mut self, request: &Request, _data: &mut [u8], cycles: u64) {
        self.latencies.add(cycles);
        self.done[usize::from(request.kind == Kind::Write)] += 1;
    }
}
