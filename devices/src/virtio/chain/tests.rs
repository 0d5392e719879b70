//! Chains as the guest's table has them, and spans of them.

use super::*;
use crate::virtio::testing::{
    DATA, END, INDIRECT, NEXT, Part::In, Part::Out, Ring, SEAM, WRITE, memory,
};
use crate::virtio::{Error, Result};

fn ring() -> Ring {
    Ring::new(memory(), 0, 16)
}

fn why(result: Result<Chain>) -> &'static str {
    match result {
        Err(Error::Chain { why, .. }) => why,
        other => panic!("not a broken chain: {other:?}"),
    }
}

fn segments(span: &Span<'_>) -> Vec<(u64, u32)> {
    span.segments().map(|segment| (segment.start.0, segment.len)).collect()
}

#[test]
fn chain_has_its_readable_and_writable_parts_in_order() {
    let mut ring = ring();
    ring.chain(0, &[Out(DATA, 16), Out(0x9000, 0), Out(0xa000, 8), In(0xb000, 512), In(0xc000, 1)]);
    let chain = ring.pop().unwrap();
    assert_eq!(chain.head(), 0);
    assert_eq!(segments(&chain.readable()), [(DATA, 16), (0xa000, 8)]);
    assert_eq!(segments(&chain.writable()), [(0xb000, 512), (0xc000, 1)]);
    assert_eq!((chain.readable().len(), chain.writable().len()), (24, 513));
}

#[test]
fn indirect_table_is_the_chain() {
    let mut ring = ring();
    ring.indirect_chain(0, DATA, &[Out(0x9000, 16), In(0xb000, 1)]);
    let chain = ring.pop().unwrap();
    assert_eq!(segments(&chain.readable()), [(0x9000, 16)]);
    assert_eq!(segments(&chain.writable()), [(0xb000, 1)]);
}

#[test]
fn chain_ending_in_an_indirect_table_goes_on_there() {
    let mut ring = ring();
    ring.indirect_chain(1, DATA, &[In(0xb000, 1)]);
    ring.describe(0, 0x9000, 16, NEXT, 1);
    let chain = ring.pop().unwrap();
    assert_eq!((chain.readable().len(), chain.writable().len()), (16, 1));
}

#[test]
fn spans_split_inside_and_between_segments() {
    let mut ring = ring();
    ring.chain(0, &[Out(0x9000, 10), Out(0xa000, 10)]);
    let chain = ring.pop().unwrap();
    let whole = chain.readable();
    for at in 0..=20 {
        let (left, right) = whole.split_at(at).unwrap();
        assert_eq!((left.len(), right.len()), (at, 20 - at));
        assert_eq!(left.is_empty(), at == 0);
        let bytes = |span: &Span<'_>| {
            span.segments()
                .flat_map(|s| s.start.0..s.start.0 + u64::from(s.len))
                .collect::<Vec<_>>()
        };
        let joined: Vec<u64> = [bytes(&left), bytes(&right)].concat();
        assert_eq!(joined, (0x9000..0x900a).chain(0xa000..0xa00a).collect::<Vec<u64>>());
    }
    assert!(whole.split_at(21).is_none());
    assert!(whole.split_at(u64::MAX).is_none());
}

#[test]
fn copies_go_across_descriptors_and_regions() {
    let mut ring = ring();
    ring.chain(0, &[Out(SEAM - 3, 6), Out(0x9000, 2), In(0xa000, 2), In(SEAM - 1, 4)]);
    let chain = ring.pop().unwrap();
    ring.memory.write_slice(b"abcdef", GuestAddress(SEAM - 3)).unwrap();
    ring.memory.write_slice(b"gh", GuestAddress(0x9000)).unwrap();
    let mut bytes = [0; 10];
    assert_eq!(chain.readable().read(&ring.memory, &mut bytes).unwrap(), 8);
    assert_eq!(&bytes, b"abcdefgh\0\0");
    assert_eq!(chain.writable().write(&ring.memory, b"123456789").unwrap(), 6);
    let mut bytes = [0; 4];
    ring.memory.read_slice(&mut bytes, GuestAddress(SEAM - 1)).unwrap();
    assert_eq!(&bytes, b"3456");
}

#[test]
fn copy_outside_memory_is_an_error() {
    for (start, len) in [(END, 1), (END - 1, 2), (u64::MAX, 1), (u64::MAX - 7, 16), (0, u32::MAX)] {
        let mut ring = ring();
        ring.chain(0, &[Out(start, len)]);
        let chain = ring.pop().unwrap();
        let mut bytes = vec![0; usize::try_from(END + 1).unwrap()];
        assert!(chain.readable().read(&ring.memory, &mut bytes).is_err(), "{start:#x} {len:#x}");
    }
}

#[test]
fn splitting_a_segment_that_wraps_stays_outside_memory() {
    let mut ring = ring();
    ring.chain(0, &[Out(u64::MAX - 7, 4096)]);
    let chain = ring.pop().unwrap();
    let (_, rest) = chain.readable().split_at(64).unwrap();
    assert!(rest.read(&ring.memory, &mut [0; 8]).is_err(), "must not come out at address 56");
}

#[test]
fn loop_is_broken() {
    let mut ring = ring();
    ring.describe(0, DATA, 1, NEXT, 1);
    ring.describe(1, DATA, 1, NEXT, 0);
    assert_eq!(why(ring.pop()), "it loops, or leaves its table or memory");
    ring.describe(0, DATA, 1, NEXT, 0);
    assert_eq!(why(ring_with(&ring).pop()), "it loops, or leaves its table or memory");
}

/// The same memory, from the start.
fn ring_with(ring: &Ring) -> Ring {
    ring.memory.write_slice(&[0; 0x2000], GuestAddress(ring.available)).unwrap();
    Ring::new(ring.memory.clone(), 0, 16)
}

#[test]
fn leaving_the_table_is_broken() {
    for next in [16, 17, u16::MAX] {
        let mut ring = ring();
        ring.describe(0, DATA, 1, NEXT, next);
        assert_eq!(why(ring.pop()), "it loops, or leaves its table or memory");
    }
}

#[test]
fn head_outside_the_table_is_broken() {
    for head in [16, u16::MAX] {
        let mut ring = ring();
        ring.offer(head);
        assert_eq!(why(ring.pop()), "it loops, or leaves its table or memory");
    }
}

#[test]
fn readable_after_writable_is_broken() {
    let mut ring = ring();
    ring.chain(0, &[In(DATA, 1), Out(DATA, 1)]);
    assert_eq!(why(ring.pop()), "a readable descriptor follows a writable one");
}

#[test]
fn badly_sized_indirect_tables_are_broken() {
    for len in [0, 1, 15, 17, u32::MAX, u32::MAX - 15] {
        let mut ring = ring();
        ring.describe(0, DATA, len, INDIRECT, 0);
        assert_eq!(why(ring.pop()), "it loops, or leaves its table or memory", "{len:#x}");
    }
}

#[test]
fn nested_indirect_table_is_broken() {
    let mut ring = ring();
    ring.indirect_chain(0, DATA, &[Out(0x9000, 1)]);
    ring.put(Descriptor::new(DATA, 16, INDIRECT, 0), DATA);
    assert_eq!(why(ring.pop()), "it loops, or leaves its table or memory");
}

#[test]
fn indirect_table_outside_memory_is_broken() {
    for table in [END, END - 8, u64::MAX - 15, u64::MAX] {
        let mut ring = ring();
        ring.describe(0, table, 32, INDIRECT, 0);
        assert_eq!(why(ring.pop()), "it loops, or leaves its table or memory", "{table:#x}");
    }
}

#[test]
fn indirect_chain_longer_than_the_queue_is_broken() {
    for (count, whole) in [(16, true), (17, false), (4096, false)] {
        let mut ring = ring();
        ring.indirect_chain(0, DATA, &vec![In(0xb000, 1); count]);
        assert_eq!(ring.pop().is_ok(), whole, "{count} descriptors");
    }
}

#[test]
fn lengths_that_add_up_past_32_bits_are_broken() {
    let mut ring = ring();
    ring.chain(0, &[In(0, u32::MAX), In(0, 1)]);
    assert_eq!(why(ring.pop()), "it loops, or leaves its table or memory");
    let mut ring = self::ring();
    ring.describe(0, 0, u32::MAX, WRITE, 0);
    assert_eq!(ring.pop().unwrap().writable().len(), u64::from(u32::MAX));
}
