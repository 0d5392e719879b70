//! Drivers that break every rule: a status, or DEVICE_NEEDS_RESET, and nothing else happens.

use std::ops::Range;

use proptest::prelude::*;
use virtio_queue::desc::split::Descriptor;

use super::*;
use crate::virtio::testing::INDIRECT;

#[test]
fn data_outside_memory_is_an_error_and_moves_nothing() {
    let platter = Platter::new(pattern());
    let mut driver = start(&platter);
    for (start, len) in [
        (END, 512),
        (END - 256, 512),
        (u64::MAX - 255, 512),
        (u64::MAX, 512),
        (END - 512, 1024),
        (0xffff_ffff_0000_0000, 512),
    ] {
        assert_eq!(ask(&mut driver, IN, 0, &[In(start, len)]), (1, 0), "{start:#x}");
        assert_eq!(ask(&mut driver, OUT, 0, &[Out(start, len)]), (1, 1), "{start:#x}");
    }
    for start in [END, END - 8, u64::MAX, u64::MAX - 15] {
        assert_eq!(ask(&mut driver, DISCARD, 0, &[Out(start, 16)]), (1, 1), "{start:#x}");
    }
    assert_eq!(ask(&mut driver, IN, 0, &[In(0, 0x20_0000)]), (1, 0));
    assert_eq!(platter.log(), []);
    assert_eq!(platter.bytes(), pattern());
}

#[test]
fn longest_lengths_are_errors() {
    let platter = Platter::new(pattern());
    let mut driver = start(&platter);
    // 2^32 - 1 bytes in all are the most that a chain can have.
    assert_eq!(ask(&mut driver, IN, 0, &[In(DATA, u32::MAX - 17)]).0, 1);
    assert_eq!(ask(&mut driver, OUT, 0, &[Out(DATA, u32::MAX - 17)]).0, 1);
    assert_eq!(platter.log(), []);
}

#[test]
fn write_to_a_read_only_disk_writes_nothing() {
    let platter = Platter::new(pattern());
    let device = device(Settings { read_only: true, ..settings() }, &platter);
    let mut driver = Driver::start(device, 1, 16, 0);
    assert_eq!(ask(&mut driver, OUT, 0, &[Out(DATA, 512)]), (1, 1));
    assert_eq!(ask(&mut driver, DISCARD, 0, &[Out(DATA, 16)]), (2, 1));
    assert_eq!(ask(&mut driver, WRITE_ZEROES, 0, &[Out(DATA, 16)]), (2, 1));
    assert_eq!(platter.log(), []);
    assert_eq!(ask(&mut driver, IN, 0, &[In(DATA, 512)]), (0, 513));
}

#[test]
fn broken_chains_need_a_reset_and_get_one() {
    let breaks: [fn(&mut Driver); 5] = [
        // a loop
        |driver| {
            driver.rings[0].describe(0, DATA, 512, NEXT, 1);
            driver.rings[0].describe(1, DATA, 512, NEXT, 0);
            driver.rings[0].offer(0);
        },
        // nowhere to put a status
        |driver| {
            driver.rings[0].describe(0, HEADER, 16, 0, 0);
            driver.rings[0].offer(0);
        },
        // a status outside memory
        |driver| offer_status_at(driver, END),
        // a nested indirect table
        |driver| {
            driver.rings[0].put(Descriptor::new(DATA, 16, INDIRECT, 0), DATA);
            driver.rings[0].describe(0, DATA, 16, INDIRECT, 0);
            driver.rings[0].offer(0);
        },
        // an index that jumps
        |driver| driver.rings[0].set_available(17),
    ];
    for break_ring in breaks {
        let platter = Platter::new(pattern());
        let mut driver = start(&platter);
        break_ring(&mut driver);
        driver.kick(0);
        driver.wait_broken();
        assert_eq!(platter.log(), []);
        reset(&mut driver);
        assert_eq!(ask(&mut driver, IN, 0, &[In(DATA, 512)]), (0, 513));
    }
}

fn offer_status_at(driver: &mut Driver, status: u64) {
    driver.rings[0].chain(0, &[Out(HEADER, 16), In(DATA, 512), In(status, 1)]);
    driver.rings[0].offer(0);
}

#[test]
fn chain_offered_twice_while_in_flight_needs_a_reset() {
    let platter = Platter::new(pattern());
    let mut driver = start(&platter);
    let _held = platter.hold();
    offer(&mut driver, 0, IN, 0, &[In(DATA, 512)]);
    driver.rings[0].offer(0);
    driver.kick(0);
    driver.wait_broken();
    platter.release();
    driver.write(reg::VIRTIO_MMIO_STATUS, 0);
    assert_eq!(driver.bytes(DATA, 512), pattern()[..512], "seen to its end all the same");
}

#[test]
fn ring_broken_with_requests_in_flight_sees_them_to_their_end() {
    let platter = Platter::new(pattern());
    let mut driver = start(&platter);
    let _held = platter.hold();
    offer(&mut driver, 0, IN, 0, &[In(DATA, 512)]);
    driver.kick(0);
    platter.wait_held(1);
    driver.rings[0].set_available(0x4000);
    driver.kick(0);
    driver.wait_broken();
    platter.release();
    reset(&mut driver);
    assert_eq!(driver.bytes(DATA, 512), pattern()[..512]);
    assert_eq!(ask(&mut driver, IN, 1, &[In(DATA, 512)]), (0, 513));
}

#[test]
fn broken_queue_leaves_the_others_in_service() {
    let platter = Platter::new(pattern());
    let device = device(Settings { queues: 2, ..settings() }, &platter);
    let mut driver = Driver::start(device, 2, 16, 0);
    driver.rings[0].set_available(0x4000);
    driver.kick(0);
    driver.wait_broken();
    offer_on(&mut driver, 1, 0, IN, 0, &[In(DATA, 512)]);
    driver.kick(1);
    assert_eq!(driver.wait_used(1), (0, 513));
}

#[test]
fn request_changed_in_flight_is_done_as_it_was_read() {
    let platter = Platter::new(pattern());
    let mut driver = start(&platter);
    let _held = platter.hold();
    offer(&mut driver, 0, IN, 2, &[In(DATA, 512)]);
    driver.kick(0);
    platter.wait_held(1);
    driver.put(&[0xff; 16], HEADER);
    for index in 0..16 {
        driver.rings[0].describe(index, END, u32::MAX, NEXT | WRITE, index);
    }
    platter.release();
    assert_eq!(driver.wait_used(0), (0, 513));
    assert_eq!(driver.bytes(DATA, 512), pattern()[1024..1536]);
}

/// Descriptors point into this part of memory, or just outside it all.
const ARENA: u64 = DATA;
const ARENA_LEN: u64 = 0x4000;

fn descriptor() -> impl Strategy<Value = (u64, u32, u16, u16)> {
    let start = prop_oneof![
        12 => (0..ARENA_LEN / 16).prop_map(|at| ARENA + at * 16),
        1 => prop::sample::select(vec![END - 8, END, u64::MAX - 7, HEADER]),
    ];
    let len = prop_oneof![
        12 => prop::sample::select(vec![1u32, 16, 20, 32, 48, 512, 513, 1024]),
        1 => prop::sample::select(vec![0, 15, 4096, u32::MAX]),
    ];
    let flags = prop_oneof![
        12 => prop::sample::select(vec![0, NEXT, WRITE, NEXT | WRITE]),
        1 => prop::sample::select(vec![INDIRECT, INDIRECT | NEXT, 0xffff]),
    ];
    (start, len, flags, 0..9u16)
}

/// A header, or a table, or noise, at a place in the arena.
fn content() -> impl Strategy<Value = (u64, Vec<u8>)> {
    let header = (prop::sample::select(vec![0u32, 1, 4, 8, 11, 13, 2]), 0..140u64).prop_map(
        |(kind, sector)| [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat(),
    );
    let noise = prop::collection::vec(any::<u8>(), 1..64);
    ((0..ARENA_LEN / 16 - 4).prop_map(|at| ARENA + at * 16), prop_oneof![header, noise])
}

/// What a table lets the device write, and the tables it points to.
fn writable(driver: &Driver, table: u64, entries: u64, allowed: &mut Vec<Range<u64>>) {
    for index in 0..entries.min(64) {
        let at = table + 16 * index;
        let word =
            |at, len| driver.bytes(at, len).into_iter().rev().fold(0, |w, b| w << 8 | u64::from(b));
        let (start, len, flags) = (word(at, 8), word(at + 8, 4), word(at + 12, 2));
        if flags & u64::from(INDIRECT) != 0 && table < ARENA && start < END - 0x8000 {
            writable(driver, start, len / 16, allowed);
        }
        if flags & u64::from(WRITE) != 0 {
            allowed.push(start..start.saturating_add(len));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever eight descriptors say: no panic, no hang; guest memory changes only where a
    /// writable descriptor or the used ring is, the disk only if a request was answered.
    #[test]
    fn any_descriptors_touch_nothing_but_what_they_name(
        table in prop::collection::vec(descriptor(), 8),
        contents in prop::collection::vec(content(), 0..12),
        heads in prop::collection::vec(0..9u16, 1..6),
    ) {
        let platter = Platter::new(pattern());
        let mut driver = Driver::start(device(settings(), &platter), 1, 8, 1 << 29);
        for (at, bytes) in &contents {
            driver.put(bytes, *at);
        }
        for (index, &(start, len, flags, next)) in (0..).zip(&table) {
            driver.rings[0].describe(index, start, len, flags, next);
        }
        let used = driver.rings[0].used;
        let mut allowed = Vec::new();
        allowed.push(used..used + 6 + 8 * 8);
        writable(&driver, driver.rings[0].table, 8, &mut allowed);
        for head in &heads {
            driver.rings[0].offer(*head);
        }
        let before = driver.bytes(0, usize::try_from(END).unwrap());
        driver.kick(0);
        let Driver { transport, irq, rings, .. } = &mut driver;
        let all = u16::try_from(heads.len()).unwrap();
        irq.wait_until(|| {
            let mut status = [0; 4];
            crate::bus::BusDevice::read(transport, 0x70, &mut status);
            status[0] & 0x40 != 0 || rings[0].used_index() == all
        });
        transport.pause();
        let after = driver.bytes(0, usize::try_from(END).unwrap());
        for page in (0..before.len()).step_by(4096).filter(|&page| {
            before[page..page + 4096] != after[page..page + 4096]
        }) {
            for at in (page..page + 4096).filter(|&at| before[at] != after[at]) {
                let allowed = allowed.iter().any(|range| range.contains(&(at as u64)));
                prop_assert!(allowed, "byte at {:#x} changed", at);
            }
        }
        if driver.rings[0].used_index() == 0 {
            prop_assert_eq!(platter.bytes(), pattern());
        }
    }
}
