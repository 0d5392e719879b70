//! Random bytes, asked for by a driver.

use super::*;
use crate::virtio::testing::{DATA, Driver, END, Part::In, Part::Out};

fn start() -> Driver {
    Driver::start(Device, 1, 8, 0)
}

#[test]
fn buffers_are_filled_and_nothing_beside_them() {
    let mut driver = start();
    assert_eq!(driver.request(&[In(DATA, 64), In(DATA + 128, 64)]), 128);
    let bytes = driver.bytes(DATA, 256);
    assert!(bytes[..64].iter().any(|&byte| byte != 0));
    assert!(bytes[128..192].iter().any(|&byte| byte != 0));
    assert_ne!(bytes[..64], bytes[128..192]);
    assert!(bytes[64..128].iter().chain(&bytes[192..]).all(|&byte| byte == 0));
}

#[test]
fn large_buffer_is_filled_in_part() {
    let mut driver = start();
    let written = driver.request(&[In(DATA, 0x2_0000)]);
    assert_eq!(written, u32::try_from(LIMIT).unwrap());
    assert!(driver.bytes(DATA + u64::from(written), 0x1000).iter().all(|&byte| byte == 0));
}

#[test]
fn buffers_that_cannot_be_written_get_nothing() {
    let mut driver = start();
    assert_eq!(driver.request(&[Out(DATA, 64)]), 0);
    assert_eq!(driver.request(&[In(DATA, 0)]), 0);
    assert!(driver.bytes(DATA, 64).iter().all(|&byte| byte == 0));
}

#[test]
fn buffer_outside_memory_stops_the_device_until_reset() {
    let mut driver = start();
    driver.rings[0].chain(0, &[In(END - 4, 64)]);
    driver.rings[0].offer(0);
    driver.kick(0);
    driver.wait_broken();
    driver.write(0x70, 0);
    assert_eq!(driver.read(0x70), 0);
    driver.negotiate(0);
    driver.set_up_queue(0, 8);
    driver.write(0x70, 15);
    assert_eq!(driver.request(&[In(DATA, 8)]), 8);
}

#[test]
fn many_requests_are_served_in_one_go() {
    let mut driver = start();
    for head in 0..8 {
        driver.rings[0].chain(head, &[In(DATA + u64::from(head) * 16, 16)]);
        driver.rings[0].offer(head);
    }
    driver.kick(0);
    for head in 0..8 {
        assert_eq!(driver.wait_used(0), (head, 16));
    }
}
