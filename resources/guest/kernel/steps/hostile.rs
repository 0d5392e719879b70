//! A driver that breaks the rules. Whatever it does, the device may answer with an error, ask
//! for a reset or do nothing; after a reset it works, and the machine is still there.

use crate::blk::{Header, Kind, Request, WANTED};
use crate::console::say;
use crate::cpu;
use crate::drive::{self, Work};
use crate::machine::Machine;
use crate::memory::Shared;
use crate::orders::Io;
use crate::pattern::SECTOR;
use crate::power::fail;
use crate::virtio::mmio::{Kind as Device, Registers};
use crate::virtio::queue::{Descriptor, INDIRECT, NEXT, WRITE};

/// Descriptors in the queue, and in the table for indirect ones.
const SIZE: u16 = 8;
/// Cycles that a device has to answer, if it does.
const PATIENCE: u64 = 1 << 26;
/// No device writes this status.
const UNANSWERED: u8 = 0xee;
const ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

/// Attacks the disk of `io` in each way.
pub fn run(machine: &mut Machine, io: &Io) {
    let registers = machine.device(Device::Block, io.disk);
    let [low, high] = registers.config::<2>(0);
    let memory = Memory::new();
    let attacks = memory.attacks(u64::from(high) << 32 | u64::from(low));
    for attack in &attacks {
        strike(registers, &memory, attack);
    }
    interrupt_requests(registers, &memory);
    registers.scribble();
    machine.close_disk();
    let cpu = machine.cpu;
    drive::drive(cpu, machine.disk(io), io, &mut Check { reads: 16 });
    say!("hostile ok attacks={}", attacks.len() + 2);
}

/// What the device is shown.
struct Memory {
    descriptors: Shared<Descriptor>,
    /// Flags, index, ring, used_event.
    available: Shared<u16>,
    /// Flags, index, ring of 8-byte elements, avail_event.
    used: Shared<u16>,
    table: Shared<Descriptor>,
    header: Shared<Header>,
    data: Shared<u8>,
    status: Shared<u8>,
}

/// One way to break the rules.
struct Attack {
    name: &'static str,
    header: Header,
    descriptors: [Descriptor; 3],
    table: [Descriptor; 2],
    /// The descriptor that is offered, and the index that says how many are.
    head: u16,
    index: u16,
    /// The status that is the only right answer, where there is one.
    answer: Option<u8>,
}

impl Memory {
    fn new() -> Memory {
        let size = usize::from(SIZE);
        Memory {
            descriptors: Shared::new(size, Descriptor::default()),
            available: Shared::new(3 + size, 0),
            used: Shared::new(3 + 4 * size, 0),
            table: Shared::new(size, Descriptor::default()),
            header: Shared::new(1, Header::default()),
            data: Shared::new(SECTOR, 0),
            status: Shared::new(1, 0),
        }
    }

    fn addresses(&self) -> [u64; 3] {
        [self.descriptors.address(), self.available.address(), self.used.address()]
    }

    /// A correct read of the first sector, for attacks to spoil.
    fn read(&self, name: &'static str) -> Attack {
        let descriptor = |address, length, flags, next| Descriptor { address, length, flags, next };
        Attack {
            name,
            header: Header::default(),
            descriptors: [
                descriptor(self.header.address(), 16, NEXT, 1),
                descriptor(self.data.address(), SECTOR as u32, NEXT | WRITE, 2),
                descriptor(self.status.address(), 1, WRITE, 0),
            ],
            table: [Descriptor::default(); 2],
            head: 0,
            index: 1,
            answer: None,
        }
    }

    fn attacks(&self, sectors: u64) -> [Attack; 22] {
        let with = |name, spoil: &dyn Fn(&mut Attack)| {
            let mut attack = self.read(name);
            spoil(&mut attack);
            attack
        };
        let header = |name, kind, sector, answer| {
            with(name, &|attack| {
                attack.header = Header { kind, reserved: 0, sector };
                attack.answer = Some(answer);
            })
        };
        let data = |name, address, length| {
            with(name, &|attack| {
                attack.descriptors[1].address = address;
                attack.descriptors[1].length = length;
            })
        };
        let indirect = |name, length, flags| {
            with(name, &|attack| {
                let address = self.table.address();
                attack.descriptors[0] = Descriptor { address, length, flags, next: 1 };
                attack.table = [Descriptor { address, length: 32, flags: INDIRECT, next: 0 }; 2];
            })
        };
        let good = self.data.address();
        [
            header("unknown type", 0xdead, 0, UNSUPPORTED),
            header("sector past the end", 0, sectors, ERROR),
            header("last sector of all", 0, u64::MAX, ERROR),
            header("sector whose offset wraps", 0, 1 << 55, ERROR),
            data("data outside memory", 1 << 51, 512),
            data("data that wraps", u64::MAX - 255, 512),
            data("data at the registers", 0xd000_0000, 512),
            data("data across the end of memory", 0xbfff_ff00, 512),
            data("data of nothing", good, 0),
            data("data of 4 GiB", good, u32::MAX),
            data("data of a part of a sector", good, 100),
            with("a loop", &|attack| attack.descriptors[1].next = 0),
            with("a link out of the table", &|attack| attack.descriptors[1].next = 0xffff),
            with("a head out of the table", &|attack| attack.head = SIZE),
            with("an index too far on", &|attack| attack.index = SIZE + 1),
            with("an index far back", &|attack| attack.index = u16::MAX),
            with("no status", &|attack| attack.descriptors[1].flags = WRITE),
            with("a header cut short", &|attack| attack.descriptors[0].length = 8),
            with("a header to write to", &|attack| attack.descriptors[0].flags |= WRITE),
            indirect("a table in a table", 32, INDIRECT),
            indirect("a table of one and a half", 24, INDIRECT),
            indirect("a table and a link", 32, INDIRECT | NEXT),
        ]
    }

    fn place(&self, attack: &Attack) {
        (0..).zip(attack.descriptors).for_each(|(at, to)| self.descriptors.set(at, to));
        (0..).zip(attack.table).for_each(|(at, to)| self.table.set(at, to));
        self.header.set(0, attack.header);
        self.status.set(0, UNANSWERED);
        (0..3 + 4 * usize::from(SIZE)).for_each(|at| self.used.set(at, 0));
        self.available.set(2, attack.head);
        self.available.set(1, attack.index);
    }
}

/// Starts the device anew, attacks it, and waits for what it does, if it does anything.
fn strike(registers: Registers, memory: &Memory, attack: &Attack) {
    registers.negotiate(WANTED);
    memory.place(attack);
    registers.queue_max(0);
    registers.set_queue(SIZE, memory.addresses());
    registers.start();
    registers.notify(0);
    let begun = cpu::tsc();
    let answered = || memory.used.get(1) != 0;
    while !answered() && !registers.needs_reset() && cpu::tsc() - begun < PATIENCE {
        core::hint::spin_loop();
    }
    let status = memory.status.get(0);
    if attack.answer.is_some_and(|answer| answer != status) {
        fail!(Check, "{registers}: {}: answered {status:#x}", attack.name);
    }
}

/// Resets the device while it reads.
fn interrupt_requests(registers: Registers, memory: &Memory) {
    for _ in 0..16 {
        registers.negotiate(WANTED);
        memory.place(&memory.read("reset"));
        registers.queue_max(0);
        registers.set_queue(SIZE, memory.addresses());
        registers.start();
        registers.notify(0);
        registers.notify(u16::MAX);
        registers.reset();
    }
}

/// Ordinary reads, which must be answered well.
struct Check {
    reads: u64,
}

impl Work for Check {
    fn next(&mut self, _data: &mut [u8]) -> Option<Request> {
        self.reads = self.reads.checked_sub(1)?;
        Some(Request { kind: Kind::Read, start: 0, length: SECTOR as u64 })
    }

    fn done(&mut self, _request: &Request, _data: &mut [u8], _cycles: u64) {}
}
