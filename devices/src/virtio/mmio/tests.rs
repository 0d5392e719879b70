//! The transport with a device behind it, from its driver's side.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use proptest::prelude::*;
use virtio_bindings::virtio_mmio as reg;

use super::*;
use crate::virtio::testing::{DATA, Driver, END, INDIRECT, NEXT, Part::In, WRITE};
use crate::virtio::worker::{self, Stop};
use crate::virtio::{DeviceKind, rng};

/// A device of three queues that says when it serves which, and writes 1 byte per request.
struct Probe {
    serving: Mutex<Sender<Vec<u16>>>,
    panic: bool,
}

fn probe() -> (Probe, Receiver<Vec<u16>>) {
    let (serving, served) = channel();
    (Probe { serving: Mutex::new(serving), panic: false }, served)
}

impl VirtioDevice for Probe {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Entropy
    }
    fn name(&self) -> &str {
        "probe"
    }
    fn features(&self) -> u64 {
        1 << 5
    }
    fn queue_sizes(&self) -> &[u16] {
        &[16, 8, 4]
    }
    fn config(&self) -> &[u8] {
        &[1, 2, 3, 4, 5, 6]
    }
    fn serve(&mut self, queues: &mut [Queue], guest: &Active, stop: &Stop) -> Result<()> {
        let numbers = queues.iter().map(Queue::index).collect();
        self.serving.lock().unwrap().send(numbers).unwrap();
        assert!(!self.panic, "as the test wanted");
        let Some(queue) = queues.first_mut() else { return Ok(()) };
        worker::serve_each(queue, guest, stop, |chain| {
            Ok(u32::try_from(chain.writable().write(&guest.memory, &[7])?).unwrap())
        })
    }
}

#[test]
fn registers_take_aligned_words_only() {
    let (device, _served) = probe();
    let mut transport = Driver::new(device).transport;
    for (offset, len) in [(0, 1), (0, 2), (0, 8), (1, 4), (2, 4), (0xfd, 4), (3, 3)] {
        let mut data = vec![0xaa; len];
        transport.read(offset, &mut data);
        assert!(data.iter().all(|&byte| byte == 0), "{len} bytes at {offset}");
    }
    for data in [&[1][..], &[1, 0], &[1, 0, 0, 0, 0, 0, 0, 0]] {
        let _ = transport.write(reg::VIRTIO_MMIO_STATUS.into(), data);
    }
    let mut status = [0xaa; 4];
    transport.read(reg::VIRTIO_MMIO_STATUS.into(), &mut status);
    assert_eq!(status, [0; 4]);
}

#[test]
fn configuration_is_read_in_any_width_and_ends_in_zeroes() {
    let (device, _served) = probe();
    let mut transport = Driver::new(device).transport;
    let mut read = |offset, len| {
        let mut data = vec![0xaa; len];
        transport.read(offset, &mut data);
        data
    };
    assert_eq!(read(0x100, 1), [1]);
    assert_eq!(read(0x102, 2), [3, 4]);
    assert_eq!(read(0x100, 4), [1, 2, 3, 4]);
    assert_eq!(read(0x100, 8), [1, 2, 3, 4, 5, 6, 0, 0]);
    assert_eq!(read(0x105, 4), [6, 0, 0, 0]);
    assert_eq!(read(0xffc, 4), [0; 4]);
    assert_eq!(read(u64::MAX - 3, 4), [0; 4]);
}

#[test]
fn configuration_is_not_written() {
    let (device, _served) = probe();
    let mut driver = Driver::new(device);
    driver.write(0x100, u32::MAX);
    assert_eq!(driver.read(0x100), 0x0403_0201);
}

#[test]
fn device_is_served_the_queues_that_are_set_up() {
    let (device, served) = probe();
    let mut driver = Driver::new(device);
    driver.negotiate(0);
    driver.set_up_queue(0, 4);
    driver.set_up_queue(1, 4);
    driver.write(reg::VIRTIO_MMIO_QUEUE_SEL, 0);
    driver.write(reg::VIRTIO_MMIO_QUEUE_READY, 0);
    driver.write(reg::VIRTIO_MMIO_STATUS, 15);
    assert_eq!(served.recv().unwrap(), [1]);
}

#[test]
fn interrupt_status_says_why_until_acknowledged() {
    let (device, _served) = probe();
    let mut driver = Driver::start(device, 1, 4, 0);
    assert_eq!(driver.read(reg::VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    assert_eq!(driver.request(&[In(DATA, 1)]), 1);
    assert_eq!(driver.read(reg::VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    driver.write(reg::VIRTIO_MMIO_INTERRUPT_ACK, 2);
    assert_eq!(driver.read(reg::VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    driver.write(reg::VIRTIO_MMIO_INTERRUPT_ACK, 1);
    assert_eq!(driver.read(reg::VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    assert_eq!(driver.bytes(DATA, 1), [7]);
}

#[test]
fn ioeventfd_notifies_as_a_register_write_does() {
    let (device, _served) = probe();
    let mut driver = Driver::start(device, 1, 4, 0);
    driver.rings[0].chain(0, &[In(DATA, 1)]);
    driver.rings[0].offer(0);
    driver.transport.queue_events()[0].write(1).unwrap();
    assert_eq!(driver.wait_used(0), (0, 1));
}

#[test]
fn notifying_a_queue_that_is_not_there_does_nothing() {
    let (device, _served) = probe();
    let mut driver = Driver::new(device);
    for queue in [3, 0x1_0000, u32::MAX] {
        driver.write(reg::VIRTIO_MMIO_QUEUE_NOTIFY, queue);
    }
    assert!(driver.transport.queue_events().iter().all(|event| event.read().is_err()));
}

#[test]
fn notification_before_the_driver_is_ready_is_not_lost() {
    let (device, _served) = probe();
    let mut driver = Driver::new(device);
    driver.negotiate(0);
    driver.set_up_queue(0, 4);
    driver.rings[0].chain(0, &[In(DATA, 1)]);
    driver.rings[0].offer(0);
    driver.kick(0);
    driver.write(reg::VIRTIO_MMIO_STATUS, 15);
    assert_eq!(driver.wait_used(0), (0, 1));
}

#[test]
fn wrong_queue_needs_a_reset_and_gets_one() {
    let wrongs: [fn(&mut Driver); 4] = [
        |driver| driver.write(reg::VIRTIO_MMIO_QUEUE_NUM, 3),
        |driver| driver.write(reg::VIRTIO_MMIO_QUEUE_NUM, 0x1_0004),
        |driver| driver.write(reg::VIRTIO_MMIO_QUEUE_DESC_HIGH, 0xffff_ffff),
        |driver| driver.write(reg::VIRTIO_MMIO_QUEUE_USED_LOW, 0x2001),
    ];
    for wrong in wrongs {
        let (device, served) = probe();
        let mut driver = Driver::new(device);
        driver.negotiate(0);
        driver.set_up_queue(0, 4);
        driver.write(reg::VIRTIO_MMIO_QUEUE_READY, 0);
        wrong(&mut driver);
        driver.write(reg::VIRTIO_MMIO_QUEUE_READY, 1);
        driver.write(reg::VIRTIO_MMIO_STATUS, 15);
        assert_eq!(driver.read(reg::VIRTIO_MMIO_STATUS), 0x4f);
        assert_eq!(driver.read(reg::VIRTIO_MMIO_INTERRUPT_STATUS), 2);
        assert!(served.try_recv().is_err(), "never started");

        driver.write(reg::VIRTIO_MMIO_STATUS, 0);
        assert_eq!(driver.read(reg::VIRTIO_MMIO_STATUS), 0);
        assert_eq!(driver.read(reg::VIRTIO_MMIO_INTERRUPT_STATUS), 0);
        driver.negotiate(0);
        driver.set_up_queue(0, 4);
        driver.write(reg::VIRTIO_MMIO_STATUS, 15);
        assert_eq!(driver.request(&[In(DATA, 1)]), 1);
    }
}

#[test]
fn broken_rings_need_a_reset_and_get_one() {
    let breaks: [fn(&mut Driver); 4] = [
        |driver| driver.rings[0].set_available(0x8000),
        |driver| driver.rings[0].offer(4),
        |driver| {
            driver.rings[0].describe(0, DATA, 1, NEXT | WRITE, 0);
            driver.rings[0].offer(0);
        },
        |driver| {
            driver.rings[0].describe(0, END, 16, INDIRECT, 0);
            driver.rings[0].offer(0);
        },
    ];
    for break_ring in breaks {
        let (device, _served) = probe();
        let mut driver = Driver::start(device, 1, 4, 0);
        break_ring(&mut driver);
        driver.kick(0);
        driver.wait_broken();
        driver.write(reg::VIRTIO_MMIO_STATUS, 0);
        driver.negotiate(0);
        driver.set_up_queue(0, 4);
        driver.write(reg::VIRTIO_MMIO_STATUS, 15);
        assert_eq!(driver.request(&[In(DATA, 1)]), 1);
    }
}

#[test]
fn registers_rewritten_after_driver_ok_change_nothing() {
    let (device, _served) = probe();
    let mut driver = Driver::start(device, 1, 4, 0);
    driver.write(reg::VIRTIO_MMIO_QUEUE_SEL, 0);
    driver.write(reg::VIRTIO_MMIO_QUEUE_READY, 0);
    for register in [0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0x38, 0x20, 0xc0] {
        driver.write(register, 0xdead_bee0);
    }
    assert_eq!(driver.read(reg::VIRTIO_MMIO_QUEUE_READY), 1);
    assert_eq!(driver.request(&[In(DATA, 1)]), 1);
    driver.transport.pause();
    driver.transport.resume();
    assert_eq!(driver.request(&[In(DATA, 1)]), 1);
}

#[test]
fn paused_device_touches_nothing_and_goes_on_where_it_was() {
    let (device, served) = probe();
    let mut driver = Driver::start(device, 1, 4, 0);
    assert_eq!(driver.request(&[In(DATA, 1)]), 1);
    driver.transport.pause();
    driver.put(&[0], DATA);
    driver.rings[0].offer(0);
    driver.kick(0);
    assert_eq!(driver.rings[0].take_used(), None);
    assert_eq!(driver.bytes(DATA, 1), [0]);
    driver.transport.pause();
    driver.transport.resume();
    driver.transport.resume();
    assert_eq!(driver.wait_used(0), (0, 1));
    assert_eq!(served.try_iter().count(), 2, "served before and after");
}

#[test]
fn pausing_a_device_without_a_driver_does_nothing() {
    let (device, served) = probe();
    let mut driver = Driver::new(device);
    driver.transport.pause();
    driver.transport.resume();
    assert!(served.try_recv().is_err());
    driver.negotiate(0);
    driver.set_up_queue(0, 4);
    driver.write(reg::VIRTIO_MMIO_STATUS, 15);
    assert_eq!(driver.request(&[In(DATA, 1)]), 1);
}

#[test]
fn reset_of_a_paused_device_takes_it_from_its_driver() {
    let (device, served) = probe();
    let mut driver = Driver::start(device, 1, 4, 0);
    assert_eq!(served.recv().unwrap(), [0]);
    driver.transport.pause();
    driver.write(reg::VIRTIO_MMIO_STATUS, 0);
    driver.transport.resume();
    assert!(served.try_recv().is_err(), "there is nothing to resume");
}

#[test]
fn dropping_the_transport_ends_its_threads() {
    let (device, served) = probe();
    let driver = Driver::start(device, 1, 4, 0);
    drop(driver);
    assert_eq!(served.iter().count(), 1, "the device, and its end of the channel, are gone");
}

#[test]
fn device_that_panicked_is_gone_but_its_registers_answer() {
    let (mut device, served) = probe();
    device.panic = true;
    let mut driver = Driver::start(device, 1, 4, 0);
    assert_eq!(served.recv().unwrap(), [0]);
    driver.write(reg::VIRTIO_MMIO_STATUS, 0);
    driver.negotiate(0);
    driver.write(reg::VIRTIO_MMIO_STATUS, 15);
    driver.transport.pause();
    driver.transport.resume();
    assert_eq!(driver.read(reg::VIRTIO_MMIO_MAGIC_VALUE), 0x7472_6976);
}

/// Requests, one at a time, each notified only if the device asks for it and waiting for its
/// interrupt, with the device taken out of service and put back while it may or may not have seen
/// the request: a wake-up lost anywhere fails this.
#[test]
fn no_wakeup_is_lost() {
    for without in [0, 1 << VIRTIO_RING_F_EVENT_IDX] {
        let (device, _served) = probe();
        let mut driver = Driver::start(device, 1, 4, without);
        driver.rings[0].chain(0, &[In(DATA, 1)]);
        for round in 0..20_000 {
            driver.rings[0].offer(0);
            if driver.rings[0].wants_kick(without == 0) {
                driver.kick(0);
            }
            if round % 32 == 0 {
                driver.transport.pause();
                driver.transport.resume();
            }
            assert_eq!(driver.wait_used(0), (0, 1));
        }
    }
}

/// What a driver may do next.
#[derive(Clone, Debug)]
enum Step {
    Register(u64, Vec<u8>),
    Memory(u64, u64),
    Event(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let register = prop_oneof![0..64u64, Just(0x70 / 4), Just(0x50 / 4), 0..0x400u64];
    let word = prop_oneof![
        prop::sample::select(vec![0u32, 1, 3, 11, 15, 4, 8, 0x2000, 0x3000, 0x1000]),
        any::<u32>()
    ];
    prop_oneof![
        6 => (register, word).prop_map(|(r, w)| Step::Register(r * 4, w.to_le_bytes().to_vec())),
        1 => (0..0x1000u64, prop::collection::vec(any::<u8>(), 0..9))
            .prop_map(|(offset, data)| Step::Register(offset, data)),
        4 => (0x1000..0x4000u64, any::<u64>()).prop_map(|(at, value)| Step::Memory(at, value)),
        2 => (0..3usize).prop_map(Step::Event),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a driver does, in service or not: no panic, no hang, and a reset that works.
    #[test]
    fn any_driver_can_reset_its_device(
        ready in any::<bool>(), steps in prop::collection::vec(step(), 0..60)
    ) {
        let mut driver = Driver::new(rng::Device);
        if ready {
            driver.negotiate(0);
            driver.set_up_queue(0, 8);
            driver.write(reg::VIRTIO_MMIO_STATUS, 15);
        }
        for step in steps {
            match step {
                Step::Register(offset, data) => {
                    prop_assert_eq!(driver.transport.write(offset, &data), Effect::None);
                    driver.transport.read(offset, &mut vec![0; data.len()]);
                }
                Step::Memory(at, value) => driver.put(&value.to_le_bytes(), at),
                Step::Event(queue) => {
                    if let Some(event) = driver.transport.queue_events().get(queue) {
                        event.write(1).unwrap();
                    }
                }
            }
        }
        driver.transport.pause();
        driver.transport.resume();
        driver.write(reg::VIRTIO_MMIO_STATUS, 0);
        prop_assert_eq!(driver.read(reg::VIRTIO_MMIO_STATUS), 0);
    }
}
