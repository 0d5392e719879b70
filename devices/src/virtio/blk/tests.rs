//! The device from its driver's side, on a disk that does what the test wants.

use std::thread;

use virtio_bindings::virtio_mmio as reg;
use zerocopy::little_endian::U64;

use super::*;
use crate::virtio::testing::disk::{Event, Platter, failure};
use crate::virtio::testing::{DATA, Driver, END, NEXT, Part, Part::In, Part::Out, SEAM, WRITE};

mod faults;
mod full;
mod hostile;
mod stack;

const SIZE: usize = 1 << 16;
const HEADER: u64 = 0x4_0000;
const STATUS: u64 = 0x4_8000;

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

fn pattern() -> Vec<u8> {
    (0..SIZE).map(|i| (i / 512 * 7 + i % 251).to_le_bytes()[0]).collect()
}

fn settings() -> Settings {
    Settings { id: "a-disk".into(), size: SIZE as u64, read_only: false, queues: 1 }
}

fn device(settings: Settings, platter: &Platter) -> Device {
    let platter = platter.clone();
    Device::new(settings, Box::new(move || Ok(Box::new(platter.disk()))))
}

fn start(platter: &Platter) -> Driver {
    Driver::start(device(settings(), platter), 1, 16, 0)
}

/// Lays out a request at descriptors from `head` on, with a header and a status of its own, and
/// offers it.
fn offer_on(driver: &mut Driver, queue: usize, head: u16, kind: u32, sector: u64, data: &[Part]) {
    let place = u64::from(head) * 16 + 0x1000 * queue as u64;
    driver.put(&kind.to_le_bytes(), HEADER + place);
    driver.put(&sector.to_le_bytes(), HEADER + place + 8);
    driver.put(&[0xff], STATUS + place);
    let parts = [&[Out(HEADER + place, 16)], data, &[In(STATUS + place, 1)]].concat();
    driver.rings[queue].chain(head, &parts);
    driver.rings[queue].offer(head);
}

fn offer(driver: &mut Driver, head: u16, kind: u32, sector: u64, data: &[Part]) {
    offer_on(driver, 0, head, kind, sector, data);
}

fn status(driver: &Driver, head: u16) -> u8 {
    driver.bytes(STATUS + u64::from(head) * 16, 1)[0]
}

/// One request, waited for: its status, and the length in the used ring.
fn ask(driver: &mut Driver, kind: u32, sector: u64, data: &[Part]) -> (u8, u32) {
    offer(driver, 0, kind, sector, data);
    driver.kick(0);
    let (head, written) = driver.wait_used(0);
    assert_eq!(head, 0);
    (status(driver, 0), written)
}

fn reset(driver: &mut Driver) {
    driver.write(reg::VIRTIO_MMIO_STATUS, 0);
    driver.negotiate(0);
    driver.set_up_queue(0, 16);
    driver.write(reg::VIRTIO_MMIO_STATUS, 15);
}

#[test]
fn configuration_describes_the_disk() {
    let settings = Settings { size: SIZE as u64 + 511, queues: 4, ..settings() };
    let device = device(settings, &Platter::default());
    let config = device.config();
    let word = |at: usize| u32::from_le_bytes(config[at..at + 4].try_into().unwrap());
    assert_eq!(config.len(), 60);
    assert_eq!(config[..8], (SIZE as u64 / 512).to_le_bytes());
    assert_eq!((word(8), word(12)), (128 << 10, 254), "segments");
    assert_eq!(word(20), 512, "block size");
    assert_eq!((config[24], config[25], config[26..28].to_vec()), (3, 0, vec![8, 0]), "topology");
    assert_eq!(config[34..36], [4, 0], "queues");
    assert_eq!((word(36), word(40), word(44)), (1 << 21, 16, 8), "discard");
    assert_eq!((word(48), word(52), config[56]), (1 << 21, 16, 1), "write zeroes");
    assert_eq!(device.queue_sizes(), [256; 4]);
}

#[test]
fn features_follow_the_settings() {
    let features = |settings| device(settings, &Platter::default()).features();
    let common = 1 << 1 | 1 << 2 | 1 << 6 | 1 << 9 | 1 << 10;
    assert_eq!(features(settings()), common | 1 << 13 | 1 << 14);
    assert_eq!(features(Settings { read_only: true, ..settings() }), common | 1 << 5);
    let many = Settings { queues: 2, ..settings() };
    assert_eq!(features(many), common | 1 << 13 | 1 << 14 | 1 << 12);
}

#[test]
fn data_is_read_into_guest_memory() {
    let mut driver = start(&Platter::new(pattern()));
    assert_eq!(ask(&mut driver, IN, 3, &[In(SEAM - 700, 1024), In(DATA, 512)]), (0, 1537));
    assert_eq!(driver.bytes(SEAM - 700, 1024), pattern()[1536..2560]);
    assert_eq!(driver.bytes(DATA, 512), pattern()[2560..3072]);
    assert_eq!(driver.bytes(SEAM + 324, 16), [0; 16], "not a byte more");
}

#[test]
fn data_is_written_from_guest_memory() {
    let platter = Platter::new(pattern());
    let mut driver = start(&platter);
    driver.put(&[0x5a; 1024], DATA);
    assert_eq!(ask(&mut driver, OUT, 5, &[Out(DATA, 24), Out(DATA + 24, 1000)]), (0, 1));
    let mut expected = pattern();
    expected[2560..3584].fill(0x5a);
    assert_eq!(platter.bytes(), expected);
    assert_eq!(platter.log(), [Event::Write(2560..3584)], "one write, and no flush");
}

#[test]
fn id_is_told() {
    let mut driver = start(&Platter::default());
    assert_eq!(ask(&mut driver, GET_ID, 0, &[In(DATA, 20)]), (0, 21));
    assert_eq!(driver.bytes(DATA, 20), *b"a-disk\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let long = Settings { id: "0123456789abcdefghijklmn".into(), ..settings() };
    let mut driver = Driver::start(device(long, &Platter::default()), 1, 16, 0);
    assert_eq!(ask(&mut driver, GET_ID, 0, &[In(DATA, 20)]), (0, 21));
    assert_eq!(driver.bytes(DATA, 21), *b"0123456789abcdefghij\0");
}

fn put_ranges(driver: &Driver, ranges: &[(u64, u32, u32)]) -> Part {
    let bytes: Vec<u8> = ranges
        .iter()
        .flat_map(|&(sector, sectors, flags)| {
            [U64::new(sector), U64::new(u64::from(flags) << 32 | u64::from(sectors))]
        })
        .flat_map(|word| word.to_bytes())
        .collect();
    driver.put(&bytes, DATA);
    Out(DATA, u32::try_from(bytes.len()).unwrap())
}

#[test]
fn every_range_is_discarded_or_zeroed() {
    let platter = Platter::new(pattern());
    let mut driver = start(&platter);
    let ranges = put_ranges(&driver, &[(8, 8, 0), (64, 1, 0)]);
    assert_eq!(ask(&mut driver, DISCARD, 0, &[ranges]), (0, 1));
    let ranges = put_ranges(&driver, &[(16, 8, 1), (0, 0, 0), (65, 1, 0)]);
    assert_eq!(ask(&mut driver, WRITE_ZEROES, 0, &[ranges]), (0, 1));
    let nothing = put_ranges(&driver, &[(0, 0, 0)]);
    assert_eq!(ask(&mut driver, DISCARD, 0, &[nothing]), (0, 1));
    let expected = [
        Event::Discard(4096..8192),
        Event::Discard(32768..33280),
        Event::Zero(8192..12288),
        Event::Zero(33280..33792),
    ];
    assert_eq!(platter.log(), expected);
}

#[test]
fn discard_without_its_feature_is_unsupported() {
    let platter = Platter::new(pattern());
    let mut driver = Driver::start(device(settings(), &platter), 1, 16, 1 << 13 | 1 << 14);
    let ranges = put_ranges(&driver, &[(8, 8, 0)]);
    assert_eq!(ask(&mut driver, DISCARD, 0, &[ranges]), (2, 1));
    assert_eq!(ask(&mut driver, WRITE_ZEROES, 0, &[ranges]), (2, 1));
    assert_eq!(platter.log(), []);
}

#[test]
fn flush_reaches_the_disk() {
    let platter = Platter::new(pattern());
    let mut driver = start(&platter);
    assert_eq!(ask(&mut driver, FLUSH, 0, &[]), (0, 1));
    assert_eq!(platter.log(), [Event::Flush]);
}

/// Spec 5.2.6.2: offered but not negotiated, so a write is stable once it completed.
#[test]
fn driver_that_cannot_flush_has_every_change_flushed_before_it_completes() {
    let platter = Platter::new(pattern());
    let mut driver = Driver::start(device(settings(), &platter), 1, 16, 1 << VIRTIO_BLK_F_FLUSH);
    assert_eq!(ask(&mut driver, OUT, 0, &[Out(DATA, 512)]), (0, 1));
    assert_eq!(platter.log(), [Event::Write(0..512), Event::Flush]);

    let ranges = put_ranges(&driver, &[(8, 8, 0), (64, 1, 0)]);
    assert_eq!(ask(&mut driver, WRITE_ZEROES, 0, &[ranges]), (0, 1));
    assert_eq!(platter.log().len(), 5, "both ranges, then one flush");
    assert_eq!(platter.log()[4], Event::Flush);

    assert_eq!(ask(&mut driver, IN, 0, &[In(DATA, 512)]), (0, 513));
    assert_eq!(platter.log().len(), 6, "a read is not flushed");
}

#[test]
fn write_through_write_completes_after_its_flush_only() {
    let platter = Platter::new(pattern());
    let mut driver = Driver::start(device(settings(), &platter), 1, 16, 1 << VIRTIO_BLK_F_FLUSH);
    let _held = platter.hold();
    offer(&mut driver, 0, OUT, 0, &[Out(DATA, 512)]);
    driver.kick(0);
    platter.wait_held(1);
    platter.release_held();
    platter.wait_held(1);
    assert_eq!(platter.log(), [Event::Write(0..512)], "the flush waits");
    assert_eq!(driver.rings[0].used_index(), 0);
    platter.release();
    assert_eq!(driver.wait_used(0), (0, 1));
    assert_eq!(platter.log(), [Event::Write(0..512), Event::Flush]);
}

#[test]
fn failed_request_is_an_error_for_the_guest() {
    let platter = Platter::new(pattern());
    let mut driver = start(&platter);
    platter.fail();
    assert_eq!(ask(&mut driver, OUT, 0, &[Out(DATA, 512)]), (1, 1));
    assert_eq!(ask(&mut driver, FLUSH, 0, &[]), (1, 1));
    assert_eq!(ask(&mut driver, IN, 0, &[In(DATA, 512)]), (1, 0));
    let ranges = put_ranges(&driver, &[(8, 8, 0), (64, 1, 0)]);
    assert_eq!(ask(&mut driver, DISCARD, 0, &[ranges]), (1, 1));
}

#[test]
fn failed_write_through_write_is_not_flushed() {
    let platter = Platter::new(pattern());
    let mut driver = Driver::start(device(settings(), &platter), 1, 16, 1 << VIRTIO_BLK_F_FLUSH);
    platter.fail();
    assert_eq!(ask(&mut driver, OUT, 0, &[Out(DATA, 512)]), (1, 1));
    assert_eq!(platter.log(), [Event::Write(0..512)]);
}

#[test]
fn requests_complete_in_the_order_the_disk_finishes_them() {
    let platter = Platter::new(pattern());
    let mut driver = start(&platter);
    let _held = platter.hold();
    for head in [0, 3, 6, 9] {
        offer(&mut driver, head, IN, head.into(), &[In(DATA + u64::from(head) * 512, 512)]);
    }
    driver.kick(0);
    platter.wait_held(4);
    assert_eq!(driver.rings[0].used_index(), 0);
    platter.release();
    for head in [9, 6, 3, 0] {
        assert_eq!(driver.wait_used(0), (head, 513));
        let (at, head) = (head as usize * 512, u16::try_from(head).unwrap());
        assert_eq!(status(&driver, head), 0);
        assert_eq!(driver.bytes(DATA + at as u64, 512), pattern()[at..at + 512]);
    }
}

#[test]
fn every_queue_serves_on_its_own() {
    let platter = Platter::new(pattern());
    let device = device(Settings { queues: 3, ..settings() }, &platter);
    let mut driver = Driver::start(device, 3, 16, 0);
    for queue in [2, 0, 1] {
        let at = 512 * queue as u64;
        offer_on(&mut driver, queue, 0, IN, queue as u64, &[In(DATA + at, 512)]);
        driver.kick(u16::try_from(queue).unwrap());
        assert_eq!(driver.wait_used(queue), (0, 513));
        assert_eq!(driver.bytes(DATA + at, 512), pattern()[queue * 512..][..512]);
    }
}

#[test]
fn reset_waits_for_requests_in_flight() {
    let platter = Platter::new(pattern());
    let mut driver = start(&platter);
    let _held = platter.hold();
    offer(&mut driver, 0, IN, 0, &[In(DATA, 512)]);
    driver.kick(0);
    platter.wait_held(1);
    let resetting = thread::spawn(move || {
        driver.write(reg::VIRTIO_MMIO_STATUS, 0);
        driver
    });
    // Guest memory is the disk's until it lets go, so the reset cannot have ended before.
    assert!(!resetting.is_finished());
    platter.release();
    let mut driver = resetting.join().unwrap();
    assert_eq!(driver.bytes(DATA, 512), pattern()[..512], "written before the reset ended");
    driver.negotiate(0);
    driver.set_up_queue(0, 16);
    driver.write(reg::VIRTIO_MMIO_STATUS, 15);
    assert_eq!(ask(&mut driver, IN, 1, &[In(DATA, 512)]), (0, 513));
}

#[test]
fn pause_answers_what_is_in_flight() {
    let platter = Platter::new(pattern());
    let mut driver = start(&platter);
    let _held = platter.hold();
    offer(&mut driver, 0, OUT, 0, &[Out(DATA, 512)]);
    driver.kick(0);
    platter.wait_held(1);
    let release = thread::spawn({
        let platter = platter.clone();
        move || platter.release()
    });
    driver.transport.pause();
    release.join().unwrap();
    assert_eq!(driver.rings[0].take_used(), Some((0, 1)));
    assert_eq!(status(&driver, 0), 0);
    offer(&mut driver, 3, IN, 0, &[In(DATA, 512)]);
    driver.transport.resume();
    assert_eq!(driver.wait_used(0), (3, 513));
}

#[test]
fn one_interrupt_tells_of_a_whole_batch() {
    let platter = Platter::new(pattern());
    let mut driver = Driver::start(device(settings(), &platter), 1, 16, 1 << 29);
    let _held = platter.hold();
    for head in [0, 3, 6, 9] {
        offer(&mut driver, head, IN, 0, &[In(DATA, 512)]);
    }
    driver.kick(0);
    platter.wait_held(4);
    assert_eq!(driver.irq.count(), 0);
    platter.release();
    driver.transport.pause();
    assert_eq!(driver.rings[0].used_index(), 4);
    assert_eq!(driver.irq.count(), 1);
}

#[test]
fn disk_that_cannot_be_opened_needs_a_reset() {
    let open: OpenDisk = Box::new(|| Err(failure()));
    let mut driver = Driver::new(Device::new(settings(), open));
    driver.negotiate(0);
    driver.set_up_queue(0, 16);
    driver.write(reg::VIRTIO_MMIO_STATUS, 15);
    driver.wait_broken();
}

#[test]
fn engine_that_broke_needs_a_reset() {
    let platter = Platter::new(pattern());
    let mut driver = start(&platter);
    platter.break_engine();
    offer(&mut driver, 0, IN, 0, &[In(DATA, 512)]);
    driver.kick(0);
    driver.wait_broken();
}
