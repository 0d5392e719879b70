//! Write, verify, zero, discard, flush.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::area::Piece;
use crate::blk::{Disk, Kind, Request};
use crate::console::say;
use crate::drive::{self, Work};
use crate::machine::Machine;
use crate::orders::{Step, Transfer};
use crate::pattern::{self, SECTOR};
use crate::power::fail;
use crate::{clock, cpu, smp};

/// Does a step, on each of its processors every so many-th piece, and says so.
pub fn run(machine: &mut Machine, transfer: Transfer, step: &Step) {
    let boot_cpu = machine.cpu;
    let begun = cpu::tsc();
    let disk = machine.disk(&step.io);
    let bytes = AtomicU64::new(0);
    smp::together(boot_cpu, step.io.cpus, &|cpu| {
        let pieces = pieces(disk, transfer, step).skip(cpu.index).step_by(step.io.cpus);
        let mut share = Share { transfer, pieces, bytes: 0 };
        drive::drive(cpu, disk, &step.io, &mut share);
        bytes.fetch_add(share.bytes, Ordering::Relaxed);
    });
    let (bytes, us) = (bytes.into_inner(), clock::microseconds_since(begun));
    say!("{} ok bytes={bytes} us={us}", step.word);
}

fn pieces(disk: &Disk, transfer: Transfer, step: &Step) -> impl Iterator<Item = Piece> + use<> {
    let longest = disk.longest(kind(transfer), step.io.size);
    let Some(end) = step.area.end(disk.size) else {
        fail!(Orders, "{:?} does not fit a disk of {} bytes", step.area, disk.size);
    };
    // A flush is one request about no bytes.
    let flush = transfer == Transfer::Flush;
    let whole = flush.then_some(Piece { start: 0, length: 0 });
    whole.into_iter().chain(step.area.pieces(if flush { 0 } else { end }, longest))
}

fn kind(transfer: Transfer) -> Kind {
    match transfer {
        Transfer::Verify { .. } | Transfer::VerifyZero => Kind::Read,
        Transfer::Write { .. } => Kind::Write,
        Transfer::Zero { unmap } => Kind::Zero { unmap },
        Transfer::Discard => Kind::Discard,
        Transfer::Flush => Kind::Flush,
    }
}

/// What one processor does.
struct Share<Pieces> {
    transfer: Transfer,
    pieces: Pieces,
    bytes: u64,
}

impl<Pieces: Iterator<Item = Piece>> Work for Share<Pieces> {
    fn next(&mut self, data: &mut [u8]) -> Option<Request> {
        let Piece { start, length } = self.pieces.next()?;
        if let Transfer::Write { seed } = self.transfer {
            pattern::fill(seed, start / SECTOR as u64, &mut data[..length as usize]);
        }
        Some(Request { kind: kind(self.transfer), start, length })
    }

    fn done(&mut self, request: &Request, data: &mut [u8], _cycles: u64) {
        self.bytes += request.length;
        let start = request.start;
        match self.transfer {
            Transfer::Verify { seed } => {
                check_pattern(seed, start, &data[..request.length as usize]);
            }
            Transfer::VerifyZero => check_zero(start, &data[..request.length as usize]),
            _ => {}
        }
    }
}

fn check_pattern(seed: u64, start: u64, data: &[u8]) {
    if let Err((at, wanted)) = pattern::check(seed, start / SECTOR as u64, data) {
        let (byte, found) = (start + at as u64, data[at]);
        fail!(Check, "byte {byte} is {found:#04x}, by seed {seed} it should be {wanted:#04x}");
    }
}

fn check_zero(start: u64, data: &[u8]) {
    if let Some(at) = data.iter().position(|byte| *byte != 0) {
        fail!(Check, "byte {} is {:#04x}, it should be 0", start + at as u64, data[at]);
    }
}
