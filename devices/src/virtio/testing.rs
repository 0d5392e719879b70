//! The driver's side, for tests: guest memory, rings, registers, an interrupt line to wait on.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use virtio_bindings::virtio_mmio as reg;
use virtio_queue::QueueState;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::chain::Chain;
use super::mmio::Transport;
use super::queue::Queue;
use super::{GuestMemory, Result, VirtioDevice};
use crate::bus::{BusDevice, Effect};
use crate::irq::Irq;

pub mod disk;

/// Descriptor flags (spec 2.7.5).
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// Where tests put their data; rings are below.
pub const DATA: u64 = 0x8_0000;
/// Two regions meet here, so that accesses across it are in two pieces of host memory.
pub const SEAM: u64 = 0x10_0000;
/// The end of the memory that begins at 0.
pub const END: u64 = 0x20_0000;
/// Another region, of 64 KiB.
pub const HIGH: u64 = 0x1_0000_0000;

/// Longer than anything a test waits for takes, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn memory() -> Arc<GuestMemory> {
    let regions = [(0, SEAM), (SEAM, END - SEAM), (HIGH, 0x1_0000)];
    let regions = regions.map(|(start, len)| (GuestAddress(start), usize::try_from(len).unwrap()));
    Arc::new(GuestMemory::from_ranges(&regions).unwrap())
}

/// An interrupt line that counts.
#[derive(Default)]
pub struct TestIrq {
    raised: Mutex<u64>,
    changed: Condvar,
}

impl Irq for TestIrq {
    fn raise(&self) -> io::Result<()> {
        *self.raised.lock().unwrap() += 1;
        self.changed.notify_all();
        Ok(())
    }
}

impl TestIrq {
    pub fn count(&self) -> u64 {
        *self.raised.lock().unwrap()
    }

    /// Returns when `ready` holds; it is looked at again after each interrupt.
    pub fn wait_until(&self, mut ready: impl FnMut() -> bool) {
        let raised = self.raised.lock().unwrap();
        let (_raised, timeout) =
            self.changed.wait_timeout_while(raised, PATIENCE, |_| !ready()).unwrap();
        assert!(!timeout.timed_out(), "no interrupt told of what was waited for");
    }
}

/// Part of a request.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// The device reads so many bytes here.
    Out(u64, u32),
    /// The device writes so many bytes here.
    In(u64, u32),
}

/// A virtqueue as its driver has it.
pub struct Ring {
    pub memory: Arc<GuestMemory>,
    pub size: u16,
    pub table: u64,
    pub available: u64,
    pub used: u64,
    next_available: u16,
    next_used: u16,
}

impl Ring {
    /// A ring of `size`, at the place for queue number `index`.
    pub fn new(memory: Arc<GuestMemory>, index: u16, size: u16) -> Self {
        let base = 0x1000 + u64::from(index) * 0x4000;
        let (available, used) = (base + 0x1000, base + 0x2000);
        Ring { memory, size, table: base, available, used, next_available: 0, next_used: 0 }
    }

    pub fn state(&self) -> QueueState {
        QueueState {
            max_size: self.size,
            size: self.size,
            ready: true,
            desc_table: self.table,
            avail_ring: self.available,
            used_ring: self.used,
            ..QueueState::default()
        }
    }

    pub fn put<T: vm_memory::ByteValued>(&self, value: T, address: u64) {
        self.memory.write_obj(value, GuestAddress(address)).unwrap();
    }

    fn get(&self, address: u64) -> u16 {
        self.memory.read_obj(GuestAddress(address)).unwrap()
    }

    /// Writes one descriptor of the table.
    pub fn describe(&self, index: u16, start: u64, len: u32, flags: u16, next: u16) {
        let descriptor = Descriptor::new(start, len, flags, next);
        self.put(descriptor, self.table + 16 * u64::from(index));
    }

    /// Describes a chain that begins at descriptor `head` and takes those behind it.
    pub fn chain(&self, head: u16, parts: &[Part]) {
        self.write_table(self.table, head, parts);
    }

    /// Describes a chain by a table of its own at `table`.
    pub fn indirect_chain(&self, head: u16, table: u64, parts: &[Part]) {
        self.write_table(table, 0, parts);
        self.describe(head, table, 16 * u32::try_from(parts.len()).unwrap(), INDIRECT, 0);
    }

    fn write_table(&self, table: u64, head: u16, parts: &[Part]) {
        for (index, part) in (head..).zip(parts) {
            let (start, len, write) = match *part {
                Part::Out(start, len) => (start, len, 0),
                Part::In(start, len) => (start, len, WRITE),
            };
            let last = usize::from(index - head) + 1 == parts.len();
            let next = if last { 0 } else { NEXT };
            let descriptor = Descriptor::new(start, len, write | next, index + 1);
            self.put(descriptor, table + 16 * u64::from(index));
        }
    }

    /// Makes the chain at `head` available.
    pub fn offer(&mut self, head: u16) {
        let entry = 4 + 2 * u64::from(self.next_available % self.size);
        self.put(head, self.available + entry);
        self.set_available(self.next_available.wrapping_add(1));
    }

    /// Says that so many chains were ever made available.
    pub fn set_available(&mut self, index: u16) {
        self.next_available = index;
        self.memory
            .store(index, GuestAddress(self.available + 2), std::sync::atomic::Ordering::SeqCst)
            .unwrap();
    }

    pub fn set_flags(&self, flags: u16) {
        self.put(flags, self.available);
    }

    /// With EVENT_IDX: interrupt when this chain, counted from the first ever, is used.
    pub fn set_used_event(&self, index: u16) {
        self.put(index, self.available + 4 + 2 * u64::from(self.size));
        // The wish is out before the used ring is looked at (spec 2.7.7.1).
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }

    /// With EVENT_IDX: at which chain the device wants to be notified.
    pub fn available_event(&self) -> u16 {
        self.get(self.used + 4 + 8 * u64::from(self.size))
    }

    /// Whether the device wants to be notified of the chain that was offered last (spec 2.7.10.1).
    pub fn wants_kick(&self, event_idx: bool) -> bool {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        if event_idx {
            self.available_event() == self.next_available.wrapping_sub(1)
        } else {
            self.used_flags() & 1 == 0
        }
    }

    pub fn used_flags(&self) -> u16 {
        self.get(self.used)
    }

    /// How many chains have ever been used.
    pub fn used_index(&self) -> u16 {
        self.memory.load(GuestAddress(self.used + 2), std::sync::atomic::Ordering::SeqCst).unwrap()
    }

    /// What a device gets for the chain at descriptor 0.
    pub fn pop(&mut self) -> Result<Chain> {
        self.offer(0);
        let kick = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let mut queue = Queue::new(0, self.state(), self.memory.clone(), kick)?;
        queue.pop().map(Option::unwrap)
    }

    /// The next used chain: its head, and how much was written.
    pub fn take_used(&mut self) -> Option<(u32, u32)> {
        if self.next_used == self.used_index() {
            return None;
        }
        let entry = self.used + 4 + 8 * u64::from(self.next_used % self.size);
        self.next_used = self.next_used.wrapping_add(1);
        let half = |at| self.memory.read_obj(GuestAddress(at)).unwrap();
        Some((half(entry), half(entry + 4)))
    }
}

/// A driver that knows the transport's registers.
pub struct Driver {
    pub transport: Transport,
    pub memory: Arc<GuestMemory>,
    pub irq: Arc<TestIrq>,
    pub rings: Vec<Ring>,
}

impl Driver {
    /// A device that was just found.
    pub fn new(device: impl VirtioDevice + 'static) -> Self {
        let (memory, irq) = (memory(), Arc::new(TestIrq::default()));
        let transport = Transport::new(memory.clone(), Box::new(device), irq.clone()).unwrap();
        Driver { transport, memory, irq, rings: Vec::new() }
    }

    /// A device with all its features but `without`, `queues` queues of `size`, in service.
    pub fn start(
        device: impl VirtioDevice + 'static,
        queues: u16,
        size: u16,
        without: u64,
    ) -> Self {
        let mut driver = Driver::new(device);
        driver.negotiate(without);
        for index in 0..queues {
            driver.set_up_queue(index, size);
        }
        driver.write(reg::VIRTIO_MMIO_STATUS, 15);
        assert_eq!(driver.read(reg::VIRTIO_MMIO_STATUS), 15);
        driver
    }

    pub fn read(&mut self, offset: u32) -> u32 {
        let mut data = [0xaa; 4];
        self.transport.read(offset.into(), &mut data);
        u32::from_le_bytes(data)
    }

    pub fn write(&mut self, offset: u32, value: u32) {
        assert_eq!(self.transport.write(offset.into(), &value.to_le_bytes()), Effect::None);
    }

    pub fn offered(&mut self) -> u64 {
        self.write(reg::VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
        let high = self.read(reg::VIRTIO_MMIO_DEVICE_FEATURES);
        self.write(reg::VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
        u64::from(high) << 32 | u64::from(self.read(reg::VIRTIO_MMIO_DEVICE_FEATURES))
    }

    /// Goes as far as FEATURES_OK, with everything that is offered but `without`.
    pub fn negotiate(&mut self, without: u64) {
        let features = self.offered() & !without;
        self.write(reg::VIRTIO_MMIO_STATUS, 1);
        self.write(reg::VIRTIO_MMIO_STATUS, 3);
        self.accept(features);
        self.write(reg::VIRTIO_MMIO_STATUS, 11);
        assert_eq!(self.read(reg::VIRTIO_MMIO_STATUS), 11, "features not agreed on");
    }

    pub fn accept(&mut self, features: u64) {
        let [low, high] = [features & 0xffff_ffff, features >> 32];
        for (index, word) in [(0, low), (1, high)] {
            self.write(reg::VIRTIO_MMIO_DRIVER_FEATURES_SEL, index);
            self.write(reg::VIRTIO_MMIO_DRIVER_FEATURES, u32::try_from(word).unwrap());
        }
    }

    pub fn set_up_queue(&mut self, index: u16, size: u16) {
        let ring = Ring::new(self.memory.clone(), index, size);
        // A driver starts with empty rings, also after a reset.
        self.memory.write_slice(&[0; 0x3000], GuestAddress(ring.table)).unwrap();
        self.write(reg::VIRTIO_MMIO_QUEUE_SEL, index.into());
        self.write(reg::VIRTIO_MMIO_QUEUE_NUM, size.into());
        for (register, address) in [
            (reg::VIRTIO_MMIO_QUEUE_DESC_LOW, ring.table),
            (reg::VIRTIO_MMIO_QUEUE_AVAIL_LOW, ring.available),
            (reg::VIRTIO_MMIO_QUEUE_USED_LOW, ring.used),
        ] {
            self.write(register, u32::try_from(address & 0xffff_ffff).unwrap());
            self.write(register + 4, u32::try_from(address >> 32).unwrap());
        }
        self.write(reg::VIRTIO_MMIO_QUEUE_READY, 1);
        self.rings.truncate(index.into());
        self.rings.push(ring);
    }

    pub fn kick(&mut self, queue: u16) {
        self.write(reg::VIRTIO_MMIO_QUEUE_NOTIFY, queue.into());
    }

    /// Offers a chain on queue 0 and waits until it was used; returns how much was written.
    pub fn request(&mut self, parts: &[Part]) -> u32 {
        self.rings[0].chain(0, parts);
        self.rings[0].offer(0);
        self.kick(0);
        let (head, written) = self.wait_used(0);
        assert_eq!(head, 0);
        written
    }

    /// Waits for the next used chain of a queue.
    pub fn wait_used(&mut self, queue: usize) -> (u32, u32) {
        let ring = &mut self.rings[queue];
        ring.set_used_event(ring.next_used);
        let mut used = None;
        self.irq.wait_until(|| {
            used = used.or_else(|| ring.take_used());
            used.is_some()
        });
        used.unwrap()
    }

    /// Waits until the device wants to be reset; it must have told so by interrupt.
    pub fn wait_broken(&mut self) {
        let Driver { transport, irq, .. } = self;
        irq.wait_until(|| read(transport, reg::VIRTIO_MMIO_STATUS) & 0x40 != 0);
        assert_ne!(self.read(reg::VIRTIO_MMIO_INTERRUPT_STATUS) & 2, 0);
    }

    pub fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }

    pub fn put(&self, bytes: &[u8], address: u64) {
        self.memory.write_slice(bytes, GuestAddress(address)).unwrap();
    }
}

fn read(transport: &mut Transport, offset: u32) -> u32 {
    let mut data = [0xaa; 4];
    transport.read(offset.into(), &mut data);
    u32::from_le_bytes(data)
}
