//! What may happen to a world.

use std::ops::Range;

/// What a guest asks for. Ranges are in our sectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Guest {
    Write(Range<usize>),
    Zero(Range<usize>),
    Discard(Range<usize>),
    Flush,
}

/// What happens, from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Letter {
    Do(Guest),
    /// A flush, and what is done while its so-manieth sync goes on.
    FlushDuring(u64, Guest),
    /// A flush; while its first sync goes on, something is done and another flush begins.
    FlushTwice(Guest),
    /// A flush whose bitmap finds no room.
    FlushFull,
    /// A write; while it reads what it must copy up, another one to the same block begins.
    Race(Range<usize>, Range<usize>),
    /// Something is written; while its bytes are on the way, a flush begins and ends.
    FlushInside(Guest),
    /// The layers change.
    Change(Chain),
}

/// What a store does to the layers. Where there are too few of them for it, nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    Snapshot,
    /// What a guest does while the so-manieth sync of the old delta goes on.
    SnapshotDuring(u64, Guest),
    /// The same, where the bits of what it did find no room.
    SnapshotFull(Guest),
    /// The delta gets all it needs from below.
    Flatten,
    FlattenDuring(Guest),
    /// The delta stands on another base from now on.
    Rebase,
    RebaseDuring(Guest),
    /// The disk is packed, and a delta made of that takes its place.
    Attach,
    /// The topmost frozen layer is merged into the delta.
    Remove,
    RemoveDuring(Guest),
    /// The frozen layer below that one is merged into it.
    RemoveMiddle,
    /// The topmost frozen layer is merged into the one below.
    Absorb,
    /// The delta is merged into the topmost frozen layer.
    Commit,
    Resize(usize),
    Compact,
}

use Guest::{Discard, Flush, Write, Zero};
use Letter::{Change, Do, FlushDuring, FlushFull, FlushInside, FlushTwice, Race};

/// A block, parts of one, across blocks, several, the base's end, past it, the end of a bitmap
/// sector, across it, behind it, the disk's end.
const RANGES: [Range<usize>; 10] =
    [0..8, 1..3, 6..11, 8..24, 17..18, 20..23, 24..32, 30..34, 32..40, 40..42];

/// What guests do to one delta.
pub(super) fn guests() -> Vec<Letter> {
    let writes = RANGES.into_iter().map(Write);
    let zeroes = RANGES.into_iter().filter(|range| *range != (24..32)).map(Zero);
    let discards = [0..8, 6..11, 0..42].into_iter().map(Discard);
    let plain = writes.chain(zeroes).chain(discards).chain([Flush]).map(Do);
    plain
        .chain([
            FlushDuring(0, Write(0..8)),
            FlushDuring(0, Zero(6..11)),
            FlushDuring(0, Write(30..34)),
            FlushDuring(1, Write(1..3)),
            FlushDuring(1, Zero(8..24)),
            FlushTwice(Write(0..8)),
            FlushTwice(Zero(40..42)),
            FlushFull,
            Race(1..3, 4..6),
            Race(17..18, 16..24),
            FlushInside(Write(32..40)),
            FlushInside(Zero(8..24)),
        ])
        .collect()
}

/// What stores do to chains, and enough of what guests do meanwhile to tell.
pub(super) fn chains() -> Vec<Letter> {
    use Chain::{
        Absorb, Attach, Commit, Compact, Flatten, FlattenDuring, Rebase, RebaseDuring, Remove,
        RemoveDuring, RemoveMiddle, Resize, Snapshot, SnapshotDuring, SnapshotFull,
    };
    let changes = [
        Snapshot,
        SnapshotDuring(0, Write(0..8)),
        SnapshotDuring(2, Write(6..11)),
        SnapshotFull(Write(16..24)),
        Flatten,
        FlattenDuring(Write(17..18)),
        Rebase,
        RebaseDuring(Write(17..18)),
        Attach,
        Remove,
        RemoveDuring(Write(4..6)),
        RemoveMiddle,
        Absorb,
        Commit,
        Resize(56),
        Resize(34),
        Compact,
    ];
    let guests = [Write(1..3), Write(32..40), Zero(6..11), Discard(0..34), Flush];
    guests.into_iter().map(Do).chain(changes.into_iter().map(Change)).collect()
}
