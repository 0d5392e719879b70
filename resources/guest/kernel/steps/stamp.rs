//! Sequence-numbered blocks, each flushed before the next: whatever kills the machine, what
//! `guest: flushed N` said is there afterwards.

use crate::blk::{Disk, Kind, Request};
use crate::console::say;
use crate::cpu::Cpu;
use crate::drive::{self, Work};
use crate::machine::Machine;
use crate::orders::{Io, Stamps};
use crate::pattern::{self, BLOCK, SECTOR};
use crate::power::fail;

/// Writes number after number, the pattern's seed being the number.
pub fn write(machine: &mut Machine, stamps: &Stamps, io: &Io) {
    let cpu = machine.cpu;
    let disk = machine.disk(io);
    let last = stamps.from.saturating_add(stamps.count - 1);
    for number in stamps.from..=last {
        let start = number % stamps.blocks * BLOCK as u64;
        one(cpu, disk, io, Kind::Write, start, |data| {
            pattern::fill(number, start / SECTOR as u64, data);
        });
        one(cpu, disk, io, Kind::Flush, 0, |_| {});
        say!("flushed {number}");
    }
}

/// Checks each block against the newest number it was flushed with, `last` being the newest of
/// all. The block that was being written then may have that number's successor, in part.
pub fn verify(machine: &mut Machine, stamps: &Stamps, last: u64, io: &Io) {
    let cpu = machine.cpu;
    let disk = machine.disk(io);
    let mut checked = 0;
    for number in (stamps.from..=last).rev().take(stamps.blocks as usize) {
        let start = number % stamps.blocks * BLOCK as u64;
        let next = number + stamps.blocks;
        let allowed = if next == last + 1 { [number, next] } else { [number, number] };
        let mut data = [0; BLOCK];
        one(cpu, disk, io, Kind::Read, start, |read| data.copy_from_slice(read));
        check(&data, start, allowed);
        checked += 1;
    }
    say!("verify-stamps ok last={last} blocks={checked}");
}

fn check(data: &[u8], start: u64, allowed: [u64; 2]) {
    for (sector, bytes) in (start / SECTOR as u64..).zip(data.chunks(SECTOR)) {
        if allowed.iter().all(|&number| pattern::check(number, sector, bytes).is_err()) {
            fail!(Check, "sector {sector} is not stamped {}, which was flushed", allowed[0]);
        }
    }
}

/// One request of one block; `data` gets its buffer, before a write and after a read.
fn one(cpu: &Cpu, disk: &Disk, io: &Io, kind: Kind, start: u64, data: impl FnMut(&mut [u8])) {
    drive::drive(cpu, disk, io, &mut One { kind, start, data, asked: false });
}

struct One<Data> {
    kind: Kind,
    start: u64,
    data: Data,
    asked: bool,
}

impl<Data: FnMut(&mut [u8])> Work for One<Data> {
    fn next(&mut self, data: &mut [u8]) -> Option<Request> {
        if core::mem::replace(&mut self.asked, true) {
            return None;
        }
        if self.kind == Kind::Write {
            (self.data)(&mut data[..BLOCK]);
        }
        Some(Request { kind: self.kind, start: self.start, length: BLOCK as u64 })
    }

    fn done(&mut self, _request: &Request, data: &mut [u8], _cycles: u64) {
        if self.kind == Kind::Read {
            (self.data)(&mut data[..BLOCK]);
        }
    }
}
