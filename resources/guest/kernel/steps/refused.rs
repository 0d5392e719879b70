//! What a read-only disk must do.

use crate::blk::{Kind, Request, Status};
use crate::console::say;
use crate::drive::{self, Work};
use crate::machine::Machine;
use crate::orders::Io;
use crate::pattern::SECTOR;
use crate::power::fail;

/// Checks that the disk says that it is read-only, and that it refuses a write.
pub fn run(machine: &mut Machine, io: &Io) {
    let cpu = machine.cpu;
    let disk = machine.disk(io);
    if !disk.read_only {
        fail!(Check, "{} does not say that it is read-only", disk.registers);
    }
    drive::drive(cpu, disk, io, &mut Attempt { made: false });
    say!("verify-readonly ok");
}

struct Attempt {
    made: bool,
}

impl Work for Attempt {
    fn next(&mut self, data: &mut [u8]) -> Option<Request> {
        data[..SECTOR].fill(0xa5);
        let first = !core::mem::replace(&mut self.made, true);
        first.then_some(Request { kind: Kind::Write, start: 0, length: SECTOR as u64 })
    }

    fn done(&mut self, _request: &Request, _data: &mut [u8], _cycles: u64) {
        fail!(Check, "a read-only disk took a write");
    }

    fn refused(&mut self, _request: &Request, status: Status) {
        if status != Status::Error {
            fail!(Check, "a read-only disk answered a write with {status:?}");
        }
    }
}
