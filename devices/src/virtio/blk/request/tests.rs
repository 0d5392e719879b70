//! Requests taken apart, without a device.

use vm_memory::Bytes;

use super::*;
use crate::virtio::testing::{DATA, END, Part, Part::In, Part::Out, Ring, SEAM, memory};

const SIZE: u64 = 1 << 20;
const SECTORS: u64 = SIZE / 512;
/// Where the header is put.
const HEADER: u64 = 0x9000;
const STATUS: u64 = 0xa000;

fn terms() -> Terms {
    Terms {
        size: SIZE,
        read_only: false,
        discard: true,
        write_zeroes: true,
        write_through: false,
        id: [0; ID_LEN],
    }
}

/// A request's outcome with its spans as addresses and lengths.
#[derive(Debug, PartialEq)]
enum Seen {
    Read(u64, Vec<(u64, u32)>),
    Write(u64, Vec<(u64, u32)>),
    Flush,
    Discard(Vec<Range<u64>>),
    Zero(Vec<Range<u64>>),
    Id(Vec<(u64, u32)>),
    Wrong(Status),
}

fn segments(span: &Span<'_>) -> Vec<(u64, u32)> {
    span.segments().map(|segment| (segment.start.0, segment.len)).collect()
}

fn see(ring: &mut Ring, terms: &Terms) -> Option<(Reply, Seen)> {
    let chain = ring.pop().unwrap();
    let (reply, request) = parse(&chain, &ring.memory, terms)?;
    let seen = match request {
        Ok(Request::Read { at, into }) => Seen::Read(at, segments(&into)),
        Ok(Request::Write { at, from }) => Seen::Write(at, segments(&from)),
        Ok(Request::Flush) => Seen::Flush,
        Ok(Request::Discard(ranges)) => Seen::Discard(ranges),
        Ok(Request::Zero(ranges)) => Seen::Zero(ranges),
        Ok(Request::Id { into }) => Seen::Id(segments(&into)),
        Err(status) => Seen::Wrong(status),
    };
    Some((reply, seen))
}

fn header(kind: u32, sector: u64) -> Header {
    Header { kind: kind.into(), reserved: 0.into(), sector: sector.into() }
}

/// A request as drivers usually lay it out, with `data` between header and status.
fn ask_on(terms: &Terms, kind: u32, sector: u64, data: &[Part]) -> Seen {
    let mut ring = Ring::new(memory(), 0, 64);
    ring.memory.write_slice(header(kind, sector).as_bytes(), GuestAddress(HEADER)).unwrap();
    ring.chain(0, &[&[Out(HEADER, 16)], data, &[In(STATUS, 1)]].concat());
    let (reply, seen) = see(&mut ring, terms).unwrap();
    assert_eq!(reply.status, GuestAddress(STATUS));
    seen
}

fn ask(kind: u32, sector: u64, data: &[Part]) -> Seen {
    ask_on(&terms(), kind, sector, data)
}

/// A discard or write-zeroes of (sector, sectors, flags).
fn ask_ranges(kind: u32, ranges: &[(u64, u32, u32)]) -> Seen {
    let mut ring = Ring::new(memory(), 0, 64);
    ring.memory.write_slice(header(kind, 0).as_bytes(), GuestAddress(HEADER)).unwrap();
    let entries: Vec<RangeEntry> = ranges
        .iter()
        .map(|&(sector, sectors, flags)| RangeEntry {
            sector: sector.into(),
            sectors: sectors.into(),
            flags: flags.into(),
        })
        .collect();
    ring.memory.write_slice(entries.as_bytes(), GuestAddress(SEAM - 8)).unwrap();
    let len = u32::try_from(16 * ranges.len()).unwrap();
    ring.chain(0, &[Out(HEADER, 16), Out(SEAM - 8, len), In(STATUS, 1)]);
    see(&mut ring, &terms()).unwrap().1
}

#[test]
fn reads_and_writes_are_at_their_sector() {
    assert_eq!(ask(0, 3, &[In(DATA, 1024)]), Seen::Read(1536, vec![(DATA, 1024)]));
    assert_eq!(ask(1, 3, &[Out(DATA, 512)]), Seen::Write(1536, vec![(DATA, 512)]));
    let last = SECTORS - 1;
    assert_eq!(ask(0, last, &[In(DATA, 512)]), Seen::Read(SIZE - 512, vec![(DATA, 512)]));
}

#[test]
fn descriptors_may_cut_a_request_anywhere() {
    let mut ring = Ring::new(memory(), 0, 64);
    ring.memory.write_slice(header(1, 7).as_bytes(), GuestAddress(HEADER)).unwrap();
    // The header in three, its last part with data behind; a status after an empty descriptor.
    ring.memory.write_slice(header(1, 7).as_bytes(), GuestAddress(SEAM - 10)).unwrap();
    ring.chain(
        0,
        &[
            Out(SEAM - 10, 3),
            Out(SEAM - 7, 9),
            Out(SEAM + 2, 0),
            Out(SEAM + 2, 4 + 500),
            Out(DATA, 12),
            In(STATUS - 8, 0),
            In(STATUS, 1),
        ],
    );
    let (reply, seen) = see(&mut ring, &terms()).unwrap();
    assert_eq!(seen, Seen::Write(7 * 512, vec![(SEAM + 6, 500), (DATA, 12)]));
    assert_eq!(reply, Reply { status: GuestAddress(STATUS), data: 0 });

    ring.memory.write_slice(header(0, 7).as_bytes(), GuestAddress(HEADER)).unwrap();
    let mut ring = Ring::new(ring.memory.clone(), 1, 64);
    ring.chain(0, &[Out(HEADER, 16), In(DATA, 100), In(DATA + 200, 413)]);
    let (reply, seen) = see(&mut ring, &terms()).unwrap();
    assert_eq!(seen, Seen::Read(7 * 512, vec![(DATA, 100), (DATA + 200, 412)]));
    assert_eq!(reply, Reply { status: GuestAddress(DATA + 612), data: 512 });
}

#[test]
fn sectors_past_the_end_are_errors() {
    let wrong = Seen::Wrong(Status::IoError);
    for sector in [SECTORS, SECTORS + 1, u64::MAX / 512, u64::MAX / 512 + 1, u64::MAX] {
        assert_eq!(ask(0, sector, &[In(DATA, 512)]), wrong, "{sector:#x}");
        assert_eq!(ask(1, sector, &[Out(DATA, 512)]), wrong, "{sector:#x}");
    }
    assert_eq!(ask(0, SECTORS - 1, &[In(DATA, 1024)]), wrong);
}

#[test]
fn data_that_is_no_whole_sectors_is_an_error() {
    let wrong = Seen::Wrong(Status::IoError);
    for len in [0, 1, 511, 513, u32::MAX - 17] {
        assert_eq!(ask(0, 0, &[In(DATA, len)]), wrong, "{len}");
    }
    for len in [0, 1, 511, 513, u32::MAX - 17] {
        assert_eq!(ask(1, 0, &[Out(DATA, len)]), wrong, "{len}");
    }
}

#[test]
fn more_data_than_all_segments_together_is_an_error() {
    let terms = Terms { size: 1 << 40, ..terms() };
    let most = 254 * (128 << 10);
    assert_eq!(ask_on(&terms, 0, 0, &[In(DATA, most)]), Seen::Read(0, vec![(DATA, most)]));
    let wrong = Seen::Wrong(Status::IoError);
    assert_eq!(ask_on(&terms, 0, 0, &[In(DATA, most + 512)]), wrong);
    assert_eq!(ask_on(&terms, 1, 0, &[Out(DATA, most), Out(DATA, 512)]), wrong);
    assert_eq!(ask_on(&terms, 1, 0, &[Out(DATA, 0xffff_fe00)]), wrong);
}

#[test]
fn data_in_the_wrong_direction_is_an_error() {
    let wrong = Seen::Wrong(Status::IoError);
    for kind in [0, 1, 4, 8, 11, 13] {
        assert_eq!(ask(kind, 0, &[Out(DATA, 512), In(DATA, 512)]), wrong, "type {kind}");
    }
    assert_eq!(ask(0, 0, &[Out(DATA, 512)]), wrong);
    for kind in [1, 4, 11, 13] {
        assert_eq!(ask(kind, 0, &[In(DATA, 512)]), wrong, "type {kind}");
    }
}

#[test]
fn unknown_types_are_unsupported() {
    for kind in [2, 3, 5, 7, 9, 10, 12, 14, 15, 16, 0x8000_0000, u32::MAX] {
        assert_eq!(ask(kind, 0, &[]), Seen::Wrong(Status::Unsupported), "type {kind}");
        assert_eq!(ask(kind, 0, &[In(DATA, 512)]), Seen::Wrong(Status::Unsupported));
    }
}

#[test]
fn flush_and_id_have_their_forms() {
    assert_eq!(ask(4, 0, &[]), Seen::Flush);
    assert_eq!(ask(4, u64::MAX, &[]), Seen::Flush, "a flush has no sector");
    assert_eq!(ask(8, 0, &[In(DATA, 20)]), Seen::Id(vec![(DATA, 20)]));
    for len in [0, 19, 21, 512] {
        assert_eq!(ask(8, 0, &[In(DATA, len)]), Seen::Wrong(Status::IoError));
    }
}

#[test]
fn read_only_disk_takes_no_writes() {
    let terms = Terms { read_only: true, discard: false, write_zeroes: false, ..terms() };
    assert_eq!(ask_on(&terms, 1, 0, &[Out(DATA, 512)]), Seen::Wrong(Status::IoError));
    assert_eq!(ask_on(&terms, 11, 0, &[Out(DATA, 16)]), Seen::Wrong(Status::Unsupported));
    assert_eq!(ask_on(&terms, 13, 0, &[Out(DATA, 16)]), Seen::Wrong(Status::Unsupported));
    assert_eq!(ask_on(&terms, 0, 0, &[In(DATA, 512)]), Seen::Read(0, vec![(DATA, 512)]));
}

#[test]
fn ranges_are_inside_the_disk() {
    let whole = [(0, 8, 0), (SECTORS - 1, 1, 0)];
    assert_eq!(ask_ranges(11, &whole), Seen::Discard(vec![0..4096, SIZE - 512..SIZE]));
    assert_eq!(ask_ranges(13, &whole), Seen::Zero(vec![0..4096, SIZE - 512..SIZE]));
    for wrong in [(SECTORS, 1), (SECTORS - 1, 2), (u64::MAX, 1), (1 << 55, 1), (0, u32::MAX)] {
        let ranges = [(0, 1, 0), (wrong.0, wrong.1, 0)];
        assert_eq!(ask_ranges(11, &ranges), Seen::Wrong(Status::IoError), "{wrong:x?}");
    }
}

#[test]
fn empty_ranges_are_nothing_to_do() {
    assert_eq!(
        ask_ranges(11, &[(5, 0, 0), (1, 1, 0), (0, 0, 0), (2, 1, 0)]),
        Seen::Discard(vec![512..1024, 1024..1536])
    );
    assert_eq!(ask_ranges(13, &[(5, 0, 0)]), Seen::Zero(vec![]));
}

#[test]
fn flags_that_may_not_be_set_are_unsupported() {
    let unmap = [(0, 1, 1), (1, 1, 1)];
    assert_eq!(ask_ranges(13, &unmap), Seen::Zero(vec![0..512, 512..1024]), "unmap is allowed");
    assert_eq!(ask_ranges(13, &[(0, 1, 2)]), Seen::Wrong(Status::Unsupported));
    assert_eq!(ask_ranges(11, &[(0, 1, 1)]), Seen::Wrong(Status::Unsupported));
    assert_eq!(ask_ranges(11, &[(0, 1, 0x8000_0000)]), Seen::Wrong(Status::Unsupported));
}

#[test]
fn more_ranges_than_offered_are_an_error() {
    let many = [(0, 1, 0); 17];
    assert_eq!(ask_ranges(11, &many[..16]), Seen::Discard(vec![0..512; 16]));
    assert_eq!(ask_ranges(11, &many), Seen::Wrong(Status::IoError));
    for len in [0, 1, 15, 17, 24] {
        assert_eq!(ask(11, 0, &[Out(DATA, len)]), Seen::Wrong(Status::IoError), "{len} bytes");
    }
}

#[test]
fn missing_or_unreadable_header_is_an_error() {
    for header in [Out(HEADER, 0), Out(HEADER, 15), Out(END, 16), Out(END - 8, 16)] {
        let mut ring = Ring::new(memory(), 0, 64);
        ring.chain(0, &[header, In(STATUS, 1)]);
        let (reply, seen) = see(&mut ring, &terms()).unwrap();
        assert_eq!(seen, Seen::Wrong(Status::IoError), "{header:?}");
        assert_eq!(reply.status, GuestAddress(STATUS));
    }
    let mut ring = Ring::new(memory(), 0, 64);
    ring.chain(0, &[In(STATUS, 1)]);
    assert_eq!(see(&mut ring, &terms()).unwrap().1, Seen::Wrong(Status::IoError));
}

#[test]
fn request_without_a_status_cannot_be_answered() {
    for parts in [
        &[Out(HEADER, 16)][..],
        &[Out(HEADER, 16), In(STATUS, 0)],
        &[Out(HEADER, 16), In(END, 1)],
        &[Out(HEADER, 16), In(END - 512, 513)],
        &[Out(HEADER, 16), In(u64::MAX, 1)],
        &[Out(HEADER, 16), In(u64::MAX - 511, 513)],
    ] {
        let mut ring = Ring::new(memory(), 0, 64);
        ring.chain(0, parts);
        assert!(see(&mut ring, &terms()).is_none(), "{parts:?}");
    }
}

#[test]
fn used_length_is_never_more_than_was_written() {
    let reply = |data| Reply { status: GuestAddress(0), data };
    assert_eq!(reply(512).written(Status::Ok), 513);
    assert_eq!(reply(512).written(Status::IoError), 0);
    assert_eq!(reply(0).written(Status::Ok), 1);
    assert_eq!(reply(0).written(Status::Unsupported), 1);
}
