//! A virtio block device (virtio 1.2, 5.2).
#![allow(unsafe_code, reason = "buffers belong to the device for a while")]

use alloc::vec::Vec;

use crate::cpu;
use crate::lock::Lock;
use crate::memory::{Buffers, Shared};
use crate::orders::Io;
use crate::pattern::SECTOR;
use crate::power::fail;
use crate::virtio::feature;
use crate::virtio::mmio::Registers;
use crate::virtio::queue::{Queue, Segment};

/// What this driver uses where the device has it.
pub const WANTED: u64 = feature::VERSION_1
    | feature::INDIRECT_DESC
    | feature::EVENT_IDX
    | feature::BLK_RO
    | feature::BLK_FLUSH
    | feature::BLK_MQ
    | feature::BLK_DISCARD
    | feature::BLK_WRITE_ZEROES;

// The configuration, by offset.
const CAPACITY: usize = 0;
const NUM_QUEUES: usize = 34;
const MAX_DISCARD_SECTORS: usize = 36;
const MAX_WRITE_ZEROES_SECTORS: usize = 48;

/// The longest queue that is made.
const QUEUE_SIZE: u16 = 256;
/// Bytes of GET_ID's answer.
pub const ID_LENGTH: usize = 20;

/// A request, less where it is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    Flush,
    Id,
    Discard,
    Zero { unmap: bool },
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub kind: Kind,
    /// Where on the disk, in bytes.
    pub start: u64,
    /// Bytes.
    pub length: u64,
}

/// What the device answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok,
    Error,
    Unsupported,
    Unknown(u8),
}

/// A disk at work: its queues, shared out to processors.
pub struct Disk {
    pub registers: Registers,
    /// Bytes.
    pub size: u64,
    pub read_only: bool,
    features: u64,
    /// For each processor, its queues.
    pub shares: Vec<Lock<Vec<Lane>>>,
    /// The longest discard and write-zeroes, in bytes.
    longest: [u64; 2],
}

impl Disk {
    /// Starts the disk anew, with the queues and processors of `io`.
    pub fn open(registers: Registers, io: &Io) -> Disk {
        let features = registers.negotiate(WANTED);
        let [low, high] = registers.config::<2>(CAPACITY);
        let sectors = u64::from(high) << 32 | u64::from(low);
        let queues = count_queues(registers, features);
        if io.queues > queues.into() {
            fail!(Orders, "{registers} has {queues} queues, not {}", io.queues);
        }
        let mut shares: Vec<_> = (0..io.cpus).map(|_| Vec::new()).collect();
        for index in 0..io.queues {
            let lane = Lane::new(registers, index as u16, features, io);
            registers.add_queue(&lane.queue);
            shares[index % io.cpus].push(lane);
        }
        registers.start();
        Disk {
            registers,
            size: sectors * SECTOR as u64,
            read_only: features & feature::BLK_RO != 0,
            features,
            shares: shares.into_iter().map(Lock::new).collect(),
            longest: longest(registers, features),
        }
    }

    /// The longest request of this kind, in bytes; it ends the run where the device has none.
    pub fn longest(&self, kind: Kind, data: u64) -> u64 {
        let (bit, longest) = match kind {
            Kind::Discard => (feature::BLK_DISCARD, self.longest[0]),
            Kind::Zero { .. } => (feature::BLK_WRITE_ZEROES, self.longest[1]),
            Kind::Flush => (feature::BLK_FLUSH, data),
            Kind::Read | Kind::Write | Kind::Id => (feature::VERSION_1, data),
        };
        if self.features & bit == 0 {
            fail!(Device, "{} has no {kind:?}", self.registers);
        }
        longest
    }
}

/// How many request queues the device has.
pub fn count_queues(registers: Registers, features: u64) -> u16 {
    if features & feature::BLK_MQ == 0 { 1 } else { registers.config_u16(NUM_QUEUES) }
}

fn longest(registers: Registers, features: u64) -> [u64; 2] {
    [
        (feature::BLK_DISCARD, MAX_DISCARD_SECTORS),
        (feature::BLK_WRITE_ZEROES, MAX_WRITE_ZEROES_SECTORS),
    ]
    .map(|(bit, offset)| match features & bit {
        0 => 0,
        _ => u64::from(registers.config::<1>(offset)[0]) * SECTOR as u64,
    })
}

/// A request's first buffer, which the device reads.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Header {
    pub kind: u32,
    pub reserved: u32,
    pub sector: u64,
}

/// The data of discard and write-zeroes.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Range {
    sector: u64,
    sectors: u32,
    flags: u32,
}

/// A queue with the memory of its requests, by slot.
pub struct Lane {
    pub queue: Queue,
    headers: Shared<Header>,
    ranges: Shared<Range>,
    statuses: Shared<u8>,
    data: Buffers,
    /// What each slot is about and since when, while the device has it.
    requests: Vec<Option<(Request, u64)>>,
}

/// An answered request.
pub struct Answer {
    /// Free again.
    pub slot: usize,
    pub request: Request,
    pub status: Status,
    /// From its submission until it was seen.
    pub cycles: u64,
}

impl Lane {
    fn new(registers: Registers, index: u16, features: u64, io: &Io) -> Lane {
        let max = registers.queue_max(index);
        if max < 4 {
            fail!(Device, "{registers}: queue {index} has room for {max} descriptors");
        }
        let max = if max.is_power_of_two() { max } else { max.next_power_of_two() / 2 };
        let queue = Queue::new(registers, index, max.min(QUEUE_SIZE), features);
        let depth = queue.slots().min(io.depth);
        Lane {
            queue,
            headers: Shared::new(depth, Header::default()),
            ranges: Shared::new(depth, Range::default()),
            statuses: Shared::new(depth, 0),
            data: Buffers::new(depth, io.size as usize),
            requests: alloc::vec![None; depth],
        }
    }

    /// Requests the device can have at once.
    pub fn depth(&self) -> usize {
        self.requests.len()
    }

    /// The buffer of a slot that the device does not have.
    pub fn data(&mut self, slot: usize) -> &mut [u8] {
        assert!(self.requests[slot].is_none());
        // SAFETY: the device does not have this slot.
        unsafe { self.data.bytes(slot) }
    }

    /// Adds a request in a slot that the device does not have; see [`Queue::show`].
    pub fn submit(&mut self, slot: usize, request: Request) {
        assert!(self.requests[slot].is_none());
        self.requests[slot] = Some((request, cpu::tsc()));
        let sector = request.start / SECTOR as u64;
        let header = |kind, sector| Header { kind, reserved: 0, sector };
        let range = |flags| {
            let sectors = (request.length / SECTOR as u64) as u32;
            self.ranges.set(slot, Range { sector, sectors, flags });
            let address = self.ranges.address_of(slot);
            Some(Segment { address, length: size_of::<Range>(), device_writes: false })
        };
        let data = |device_writes| {
            let length = request.length.next_multiple_of(SECTOR as u64) as usize;
            Some(Segment { address: self.data.address(slot), length, device_writes })
        };
        let id =
            Segment { address: self.data.address(slot), length: ID_LENGTH, device_writes: true };
        let (header, body) = match request.kind {
            Kind::Read => (header(0, sector), data(true)),
            Kind::Write => (header(1, sector), data(false)),
            Kind::Flush => (header(4, 0), None),
            Kind::Id => (header(8, 0), Some(id)),
            Kind::Discard => (header(11, 0), range(0)),
            Kind::Zero { unmap } => (header(13, 0), range(unmap.into())),
        };
        self.headers.set(slot, header);
        self.statuses.set(slot, 0xff);
        let first = Segment {
            address: self.headers.address_of(slot),
            length: size_of::<Header>(),
            device_writes: false,
        };
        let last =
            Segment { address: self.statuses.address_of(slot), length: 1, device_writes: true };
        match body {
            Some(body) => self.queue.submit(slot, &[first, body, last]),
            None => self.queue.submit(slot, &[first, last]),
        }
    }

    /// The next answer.
    pub fn answer(&mut self) -> Option<Answer> {
        let slot = self.queue.answer()?.slot;
        let Some((request, begun)) = self.requests.get_mut(slot).and_then(Option::take) else {
            fail!(Device, "an answer to slot {slot}, which asked nothing");
        };
        let status = match self.statuses.get(slot) {
            0 => Status::Ok,
            1 => Status::Error,
            2 => Status::Unsupported,
            other => Status::Unknown(other),
        };
        Some(Answer { slot, request, status, cycles: cpu::tsc().wrapping_sub(begun) })
    }
}
