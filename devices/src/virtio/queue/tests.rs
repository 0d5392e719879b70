//! A queue against its driver, without threads.

use vmm_sys_util::eventfd::EFD_NONBLOCK;

use super::*;
use crate::virtio::testing::{DATA, END, HIGH, Part::In, Ring, memory};

fn kick() -> Arc<EventFd> {
    Arc::new(EventFd::new(EFD_NONBLOCK).unwrap())
}

fn pair(event_idx: bool) -> (Ring, Queue) {
    let ring = Ring::new(memory(), 0, 4);
    ring.chain(0, &[In(DATA, 8)]);
    ring.chain(1, &[In(DATA, 8)]);
    ring.chain(2, &[In(DATA, 8)]);
    let state = QueueState { event_idx_enabled: event_idx, ..ring.state() };
    let queue = Queue::new(0, state, ring.memory.clone(), kick()).unwrap();
    (ring, queue)
}

#[test]
fn chains_are_taken_once_and_returned() {
    let (mut ring, mut queue) = pair(false);
    assert!(queue.pop().unwrap().is_none());
    ring.offer(2);
    ring.offer(1);
    assert_eq!(queue.pop().unwrap().unwrap().head(), 2);
    assert_eq!(queue.pop().unwrap().unwrap().head(), 1);
    assert!(queue.pop().unwrap().is_none());
    queue.push(1, 8).unwrap();
    queue.push(2, 3).unwrap();
    assert_eq!([ring.take_used(), ring.take_used()], [Some((1, 8)), Some((2, 3))]);
    assert_eq!(ring.take_used(), None);
}

#[test]
fn indexes_wrap_around() {
    let (mut ring, mut queue) = pair(true);
    for round in 0..70_000u32 {
        ring.offer(1);
        let chain = queue.pop().unwrap().unwrap();
        queue.push(chain.head(), round).unwrap();
        assert_eq!(ring.take_used(), Some((1, round)));
    }
}

#[test]
fn available_index_that_jumps_is_broken() {
    for index in [5, 6, 0x8000, u16::MAX] {
        let (mut ring, mut queue) = pair(false);
        ring.set_available(index);
        assert!(matches!(queue.pop(), Err(Error::AvailableRing { .. })), "index {index}");
    }
}

#[test]
fn available_index_that_goes_back_is_broken() {
    let (mut ring, mut queue) = pair(false);
    ring.offer(0);
    let chain = queue.pop().unwrap().unwrap();
    queue.push(chain.head(), 0).unwrap();
    ring.set_available(0);
    assert!(matches!(queue.pop(), Err(Error::AvailableRing { .. })));
}

#[test]
fn more_chains_than_the_queue_holds_are_broken() {
    let (mut ring, mut queue) = pair(false);
    for _ in 0..4 {
        ring.offer(0);
        queue.pop().unwrap().unwrap();
    }
    ring.offer(0);
    assert!(matches!(queue.pop(), Err(Error::AvailableRing { .. })));
}

#[test]
fn wrong_rings_are_refused() {
    let memory = memory();
    let good = Ring::new(memory.clone(), 0, 16).state();
    let refused = |change: &dyn Fn(&mut QueueState)| {
        let mut state = good;
        change(&mut state);
        matches!(Queue::new(0, state, memory.clone(), kick()), Err(Error::Setup { .. }))
    };
    assert!(!refused(&|_| ()));
    assert!(!refused(&|state| state.used_ring = HIGH));
    for size in [0, 3, 15, 32, u16::MAX] {
        assert!(refused(&|state| state.size = size), "size {size}");
    }
    assert!(refused(&|state| state.desc_table += 8));
    assert!(refused(&|state| state.avail_ring += 1));
    assert!(refused(&|state| state.used_ring += 2));
    for outside in [END, END - 16, !15, HIGH - 16, HIGH + 0xfff0] {
        assert!(refused(&|state| state.desc_table = outside), "{outside:#x}");
        assert!(refused(&|state| state.avail_ring = outside), "{outside:#x}");
        assert!(refused(&|state| state.used_ring = outside), "{outside:#x}");
    }
}

fn serve_one(ring: &mut Ring, queue: &mut Queue) {
    ring.offer(0);
    let chain = queue.pop().unwrap().unwrap();
    queue.push(chain.head(), 0).unwrap();
}

#[test]
fn flag_suppresses_interrupts_without_event_idx() {
    let (mut ring, mut queue) = pair(false);
    serve_one(&mut ring, &mut queue);
    assert!(queue.wants_interrupt().unwrap());
    ring.set_flags(1);
    serve_one(&mut ring, &mut queue);
    assert!(!queue.wants_interrupt().unwrap());
}

#[test]
fn used_event_says_when_to_interrupt() {
    let (mut ring, mut queue) = pair(true);
    ring.set_flags(1); // means nothing with EVENT_IDX
    ring.set_used_event(0);
    serve_one(&mut ring, &mut queue);
    assert!(queue.wants_interrupt().unwrap(), "chain 0 was used");
    ring.set_used_event(2);
    serve_one(&mut ring, &mut queue);
    assert!(!queue.wants_interrupt().unwrap(), "chain 1 was used, 2 is waited for");
    serve_one(&mut ring, &mut queue);
    serve_one(&mut ring, &mut queue);
    assert!(queue.wants_interrupt().unwrap(), "2 is among those used since");
    serve_one(&mut ring, &mut queue);
    assert!(!queue.wants_interrupt().unwrap(), "it was told of already");
}

#[test]
fn sleeping_asks_for_a_kick_at_the_next_chain() {
    let (mut ring, mut queue) = pair(true);
    serve_one(&mut ring, &mut queue);
    assert!(!queue.enable_kicks().unwrap());
    assert_eq!(ring.available_event(), 1);

    let (ring, mut queue) = pair(false);
    queue.disable_kicks().unwrap();
    assert_eq!(ring.used_flags(), 1);
    assert!(!queue.enable_kicks().unwrap());
    assert_eq!(ring.used_flags(), 0);
}

#[test]
fn chain_offered_before_sleeping_is_noticed_without_a_kick() {
    for event_idx in [false, true] {
        let (mut ring, mut queue) = pair(event_idx);
        queue.disable_kicks().unwrap();
        assert!(queue.pop().unwrap().is_none());
        ring.offer(0);
        assert!(queue.enable_kicks().unwrap());
    }
}
