//! Write, verify, zero, discard, flush.

use crate::area::Piece;
use crate::blk::{Disk, Kind, Request};
use crate::console::say;
use crate::drive::{self, Work};
use crate::machine::Machine;
use crate::orders::{Order, Step};
use crate::pattern::{self, BASE_SEED, SECTOR};
use crate::power::fail;

/// Does a step and says so.
pub fn run(machine: &mut Machine, step: &Step) {
    let cpu = machine.cpu;
    let disk = machine.disk(&step.io);
    let mut work = Transfer::new(&step.order, pieces(disk, step));
    drive::drive(cpu, disk, &step.io, &mut work);
    let (name, bytes) = (name(&step.order), work.bytes);
    say!("{name} ok bytes={bytes}");
}

fn pieces(disk: &Disk, step: &Step) -> impl Iterator<Item = Piece> + use<> {
    let kind = kind(&step.order);
    let longest = disk.longest(kind, step.io.size);
    let Some(end) = step.area.end(disk.size) else {
        fail!(Orders, "{:?} does not fit a disk of {} bytes", step.area, disk.size);
    };
    let end = if kind == Kind::Flush { 0 } else { end };
    let flush = (kind == Kind::Flush).then_some(Piece { start: 0, length: 0 });
    flush.into_iter().chain(step.area.pieces(end, longest))
}

fn kind(order: &Order) -> Kind {
    match *order {
        Order::Write { .. } => Kind::Write,
        Order::Zero { unmap } => Kind::Zero { unmap },
        Order::Discard => Kind::Discard,
        Order::Flush => Kind::Flush,
        _ => Kind::Read,
    }
}

fn name(order: &Order) -> &'static str {
    match order {
        Order::Write { .. } => "write",
        Order::Verify { seed: BASE_SEED } => "verify-base",
        Order::Verify { .. } => "verify",
        Order::VerifyZero => "verify-zero",
        Order::Zero { .. } => "zero",
        Order::Discard => "discard",
        _ => "flush",
    }
}

struct Transfer<'a, Pieces> {
    order: &'a Order,
    kind: Kind,
    pieces: Pieces,
    bytes: u64,
}

impl<'a, Pieces> Transfer<'a, Pieces> {
    fn new(order: &'a Order, pieces: Pieces) -> Self {
        Transfer { order, kind: kind(order), pieces, bytes: 0 }
    }
}

impl<Pieces: Iterator<Item = Piece>> Work for Transfer<'_, Pieces> {
    fn next(&mut self, data: &mut [u8]) -> Option<Request> {
        let Piece { start, length } = self.pieces.next()?;
        if let Order::Write { seed } = self.order {
            pattern::fill(*seed, start / SECTOR as u64, &mut data[..length as usize]);
        }
        Some(Request { kind: self.kind, start, length })
    }

    fn done(&mut self, request: &Request, data: &mut [u8], _cycles: u64) {
        self.bytes += request.length;
        let (start, data) = (request.start, &data[..]);
        match self.order {
            Order::Verify { seed } => check_pattern(*seed, start, &data[..request.length as usize]),
            Order::VerifyZero => check_zero(start, &data[..request.length as usize]),
            _ => {}
        }
    }
}

fn check_pattern(seed: u64, start: u64, data: &[u8]) {
    if let Err((at, wanted)) = pattern::check(seed, start / SECTOR as u64, data) {
        fail!(
            Check,
            "byte {} is {:#04x}, with seed {seed} it should be {wanted:#04x}",
            start + at as u64,
            data[at]
        );
    }
}

fn check_zero(start: u64, data: &[u8]) {
    if let Some(at) = data.iter().position(|byte| *byte != 0) {
        fail!(Check, "byte {} is {:#04x}, it should be 0", start + at as u64, data[at]);
    }
}
