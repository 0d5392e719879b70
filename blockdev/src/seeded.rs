//! Bugs that can be put into this crate, so that the tests that must catch them can be tested.
//!
//! Only in test builds, and only in the thread that asked for one. `crash::bugs` has the test.

use std::cell::Cell;
use std::ops::Range;

use crate::delta::{BLOCK, Bitmap, Delta, Snapshot};

/// Something the code could do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// No sync comes after what was written last at these sectors of a file.
    NoSyncAfter(Written),
    /// A write sets its bits before its bytes are written.
    BitBeforeWrite,
    /// Zeroing sets bits first and punches afterwards.
    BitBeforePunch,
    /// A flush writes the bits as they are after its sync, not as they were before.
    LiveBitmap,
    /// Bits that found no room are not tried again.
    PutBackForgotten,
    /// Zeroing clears the bits of its blocks.
    ZeroClearsBits,
    /// What is before a write in its first block is not copied up.
    HeadForgotten,
    /// What is behind a write in its last block is not copied up.
    TailForgotten,
    /// Two writers may take ownership of a block at once.
    NoRangeLock,
    /// A flush that finds another one under way lets that one do.
    FlushDoesNotWait,
    /// A flush that finds another one under way waits for that one only.
    JoinsRunningCommit,
    /// A flush that another one has done for it is done again.
    CommitsAlone,
    /// What fails is an error once, and may go well the next time.
    ErrorForgotten,
    /// Who releases a range tells nobody.
    ReleaseWakesNobody,
    /// Who has had something done is told before it is there.
    DoneTooLate,
    /// A gate that is closed lets writers in.
    GateStaysOpen,
    /// Who leaves a gate says so when the closer is not yet waiting for it.
    LeavesUnseen,
    /// Who is refused at a gate after the refused were called back waits for the next call.
    RefusedTooLate,
    /// Zeroes are looked for in blocks that are written meanwhile.
    CompactDoesNotLock,
    /// A flush of the new top layer does not wait for what the one below it has not made durable.
    TopDoesNotWait,
    /// A layer is given another parent before what it needs from the old one is durable.
    RelinkBeforeFlush,
    /// Of a block below and in a new parent only the first sector is compared.
    RebaseComparesSectors,
    /// A layer absorbs a child without saying so.
    AbsorbWithoutMark,
    /// A layer is called absorbed before all of its child is durable in it.
    AbsorbedBeforeFlush,
    /// An owner map is believed whatever layers it was made of.
    StaleOwners,
    /// A disk that grows shows what a longer one left there.
    GrowExposes,
}

/// What a part of a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    FirstHeader,
    SecondHeader,
    Bitmap,
    Data,
}

thread_local! {
    static SEEDED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Whether this thread is to have `bug`.
pub(crate) fn seeded(bug: Bug) -> bool {
    current() == Some(bug)
}

/// The bug this thread has.
pub(crate) fn current() -> Option<Bug> {
    SEEDED.get()
}

/// Gives this thread `bug`, or none.
pub(crate) fn seed(bug: Option<Bug>) {
    SEEDED.set(bug);
}

/// With `bug`, the blocks of `range` are owned already.
pub(crate) fn bits_early(bug: Bug, delta: &Delta, range: &Range<u64>) {
    if seeded(bug) {
        delta.bitmap().insert(range.start / BLOCK..range.end.div_ceil(BLOCK));
    }
}

/// With [`Bug::ZeroClearsBits`], the whole blocks of `range` are owned no more.
pub(crate) fn bits_cleared(delta: &Delta, range: &Range<u64>) {
    if seeded(Bug::ZeroClearsBits) {
        delta.bitmap().remove(range.start.div_ceil(BLOCK)..range.end / BLOCK);
    }
}

/// With [`Bug::LiveBitmap`], what `taken` would be now.
pub(crate) fn taken_late(bitmap: &Bitmap, taken: Vec<Snapshot>) -> Vec<Snapshot> {
    if !seeded(Bug::LiveBitmap) {
        return taken;
    }
    bitmap.put_back(&taken);
    bitmap.take_pending(0, usize::MAX)
}
