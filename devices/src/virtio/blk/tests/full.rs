//! A host that has no room: requests wait for it, and are done once it is there.

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::*;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A driver, and what the host is told.
fn start_keeping(platter: &Platter, queues: u16, without: u64) -> (Driver, Receiver<String>) {
    let (sender, told) = mpsc::channel();
    let tell: OnFull = Box::new(move |error| {
        assert_eq!(error.kind(), blockdev::ErrorKind::NoSpace);
        sender.send(error.to_string()).unwrap();
    });
    let device = device(Settings { queues, ..settings() }, platter);
    let device = device.keeping_what_finds_no_room(tell);
    (Driver::start(device, queues, 16, without), told)
}

/// What the host does when it is told so many times, after it has made room.
fn pause_and_resume(driver: &mut Driver, told: &Receiver<String>, times: usize) {
    for _ in 0..times {
        told.recv_timeout(PATIENCE).expect("the host is told");
    }
    driver.transport.pause();
    driver.transport.resume();
}

#[test]
fn a_write_without_room_is_neither_answered_nor_lost() {
    let platter = Platter::new(pattern());
    let (mut driver, told) = start_keeping(&platter, 1, 0);
    platter.starve(2);
    driver.put(&[0x5a; 1024], DATA);
    offer(&mut driver, 0, OUT, 5, &[Out(DATA, 1024)]);
    driver.kick(0);
    for _ in 0..2 {
        assert!(told.recv_timeout(PATIENCE).unwrap().contains("fake"));
        driver.transport.pause();
        assert_eq!((driver.rings[0].used_index(), status(&driver, 0)), (0, 0xff));
        driver.transport.resume();
    }
    assert_eq!(driver.wait_used(0), (0, 1));
    assert_eq!(status(&driver, 0), 0);
    let mut expected = pattern();
    expected[5 * 512..7 * 512].fill(0x5a);
    assert_eq!(platter.bytes(), expected);
}

#[test]
fn all_of_a_request_is_repeated_when_a_part_found_no_room() {
    let platter = Platter::new(pattern());
    let (mut driver, told) = start_keeping(&platter, 1, 0);
    platter.starve(1);
    let ranges = put_ranges(&driver, &[(8, 8, 0), (64, 1, 0)]);
    offer(&mut driver, 0, DISCARD, 0, &[ranges]);
    driver.kick(0);
    pause_and_resume(&mut driver, &told, 1);
    assert_eq!(driver.wait_used(0), (0, 1));
    assert_eq!(status(&driver, 0), 0);
    let parts = [Event::Discard(4096..8192), Event::Discard(32768..33280)];
    assert_eq!(platter.log(), [&parts[..], &parts].concat());
}

#[test]
fn a_flush_is_acknowledged_after_it_found_room_only() {
    let platter = Platter::new(pattern());
    let (mut driver, told) = start_keeping(&platter, 1, 0);
    platter.starve(1);
    offer(&mut driver, 0, FLUSH, 0, &[]);
    driver.kick(0);
    told.recv_timeout(PATIENCE).unwrap();
    driver.transport.pause();
    assert_eq!(driver.rings[0].used_index(), 0);
    driver.transport.resume();
    assert_eq!(driver.wait_used(0), (0, 1));
    assert_eq!(platter.log(), [Event::Flush, Event::Flush]);
}

#[test]
fn the_flush_of_a_write_through_write_is_repeated_alone() {
    let platter = Platter::new(pattern());
    let (mut driver, told) = start_keeping(&platter, 1, 1 << VIRTIO_BLK_F_FLUSH);
    let held = platter.hold();
    offer(&mut driver, 0, OUT, 0, &[Out(DATA, 512)]);
    driver.kick(0);
    platter.wait_held(1);
    platter.release_held();
    platter.wait_held(1);
    platter.starve(1);
    drop(held);
    pause_and_resume(&mut driver, &told, 1);
    assert_eq!(driver.wait_used(0), (0, 1));
    assert_eq!(platter.log(), [Event::Write(0..512), Event::Flush, Event::Flush]);
}

#[test]
fn requests_that_need_no_room_go_on_beside_one_that_waits() {
    let platter = Platter::new(pattern());
    let (mut driver, told) = start_keeping(&platter, 1, 0);
    platter.starve(1);
    offer(&mut driver, 3, OUT, 0, &[Out(DATA, 512)]);
    driver.kick(0);
    told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(ask(&mut driver, IN, 9, &[In(DATA, 512)]), (0, 513));
    driver.transport.pause();
    driver.transport.resume();
    assert_eq!(driver.wait_used(0), (3, 1));
}

#[test]
fn a_request_that_finds_no_room_while_the_device_pauses_is_kept_as_well() {
    let platter = Platter::new(pattern());
    let (mut driver, told) = start_keeping(&platter, 1, 0);
    let held = platter.hold();
    offer(&mut driver, 0, OUT, 0, &[Out(DATA, 512)]);
    driver.kick(0);
    platter.wait_held(1);
    platter.starve(1);
    let release = thread::spawn(move || drop(held));
    driver.transport.pause();
    release.join().unwrap();
    told.try_recv().expect("told before the pause was over");
    assert_eq!(driver.rings[0].used_index(), 0);
    driver.transport.resume();
    assert_eq!(driver.wait_used(0), (0, 1));
}

#[test]
fn every_queue_keeps_its_own() {
    let platter = Platter::new(pattern());
    let (mut driver, told) = start_keeping(&platter, 3, 0);
    platter.starve(3);
    for queue in 0..3u8 {
        driver.put(&[queue; 512], DATA + 512 * u64::from(queue));
        let from = Out(DATA + 512 * u64::from(queue), 512);
        offer_on(&mut driver, queue.into(), 0, OUT, queue.into(), &[from]);
        driver.kick(queue.into());
    }
    pause_and_resume(&mut driver, &told, 3);
    let mut expected = pattern();
    for queue in 0..3u8 {
        assert_eq!(driver.wait_used(queue.into()), (0, 1));
        expected[512 * usize::from(queue)..][..512].fill(queue);
    }
    assert_eq!(platter.bytes(), expected);
}

#[test]
fn a_reset_forgets_what_waits_for_room() {
    let platter = Platter::new(pattern());
    let (mut driver, told) = start_keeping(&platter, 1, 0);
    platter.starve(1);
    offer(&mut driver, 0, FLUSH, 0, &[]);
    driver.kick(0);
    told.recv_timeout(PATIENCE).unwrap();
    reset(&mut driver);
    assert_eq!(ask(&mut driver, IN, 0, &[In(DATA, 512)]), (0, 513));
    assert_eq!(platter.log(), [Event::Flush, Event::Read(0..512)]);
}

#[test]
fn a_chain_that_waits_for_room_cannot_be_offered_again() {
    let platter = Platter::new(pattern());
    let (mut driver, told) = start_keeping(&platter, 1, 0);
    platter.starve(1);
    offer(&mut driver, 0, OUT, 0, &[Out(DATA, 512)]);
    driver.kick(0);
    told.recv_timeout(PATIENCE).unwrap();
    driver.rings[0].offer(0);
    driver.kick(0);
    driver.wait_broken();
}

#[test]
fn where_nobody_is_to_be_told_no_room_is_an_error() {
    let platter = Platter::new(pattern());
    let mut driver = start(&platter);
    platter.starve(1);
    assert_eq!(ask(&mut driver, OUT, 0, &[Out(DATA, 512)]), (1, 1));
    assert_eq!(ask(&mut driver, OUT, 0, &[Out(DATA, 512)]), (0, 1));
}
