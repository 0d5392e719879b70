//! What devices there are; the identity of a disk; entropy.

use alloc::string::String;
use core::fmt::Write;

use crate::blk::{self, ID_LENGTH, Request};
use crate::console::say;
use crate::cpu;
use crate::drive::{self, Work};
use crate::machine::Machine;
use crate::memory::Shared;
use crate::orders::Io;
use crate::power::fail;
use crate::virtio::feature;
use crate::virtio::mmio::Kind;
use crate::virtio::queue::{Queue, Segment};

/// Cycles in which a device has to answer.
const PATIENCE: u64 = 1 << 35;

/// Prints each device, with the queues and the size of disks.
pub fn list(machine: &Machine) {
    for device in &machine.devices {
        let Some(kind) = device.kind() else { continue };
        let features = device.features();
        let (base, gsi) = (device.window.base, device.window.gsi);
        match kind {
            Kind::Block => {
                let [low, high] = device.config::<2>(0);
                let sectors = u64::from(high) << 32 | u64::from(low);
                let queues = blk::count_queues(*device, features);
                say!(
                    "device {base:#x} irq={gsi} block features={features:#x} sectors={sectors} queues={queues}"
                );
            }
            kind => say!("device {base:#x} irq={gsi} {kind:?} features={features:#x}"),
        }
    }
    say!("devices ok");
}

/// Prints what GET_ID answers.
pub fn id(machine: &mut Machine, io: &Io) {
    let cpu = machine.cpu;
    let disk = machine.disk(io);
    let mut id = Id { asked: false, text: String::new() };
    drive::drive(cpu, disk, io, &mut id);
    say!("id {}", id.text);
}

struct Id {
    asked: bool,
    text: String,
}

impl Work for Id {
    fn next(&mut self, _data: &mut [u8]) -> Option<Request> {
        let first = !core::mem::replace(&mut self.asked, true);
        first.then_some(Request { kind: blk::Kind::Id, start: 0, length: ID_LENGTH as u64 })
    }

    fn done(&mut self, _request: &Request, data: &mut [u8], _cycles: u64) {
        let bytes = data[..ID_LENGTH].iter().take_while(|&&byte| byte != 0);
        self.text.extend(bytes.map(|&byte| char::from(byte)));
    }
}

/// Prints so many random bytes.
pub fn entropy(machine: &Machine, bytes: usize) {
    let device = machine.device(Kind::Entropy, 0);
    let features =
        device.negotiate(feature::VERSION_1 | feature::EVENT_IDX | feature::INDIRECT_DESC);
    let size = device.queue_max(0).min(8);
    let mut queue = Queue::new(device, 0, size, features);
    let data = Shared::<u8>::new(bytes, 0);
    device.add_queue(&queue);
    device.start();
    let mut got = 0;
    let begun = cpu::tsc();
    while got < bytes {
        let rest =
            Segment { address: data.address_of(got), length: bytes - got, device_writes: true };
        queue.submit(0, &[rest]);
        queue.show();
        let length = loop {
            match queue.answer() {
                Some(answer) => break answer.length,
                None if cpu::tsc().wrapping_sub(begun) > PATIENCE => {
                    fail!(Device, "{device} does not answer")
                }
                None => core::hint::spin_loop(),
            }
        };
        if length == 0 || length > bytes - got {
            fail!(Device, "{device}: {length} bytes for {} asked", bytes - got);
        }
        got += length;
    }
    device.reset();
    let mut hex = String::new();
    for index in 0..bytes {
        let _ = write!(hex, "{:02x}", data.get(index));
    }
    say!("rng {hex}");
}
