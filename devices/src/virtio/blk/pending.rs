//! A request between its taking and its answer: what the disk has of it, and what it must be
//! given again when it found no room.

use std::ops::Range;

use blockdev::{Buffers, Disk, Done, ErrorKind, Op, Tag};

use super::request::{Reply, Status};

/// What is asked of the disk. Buffers are away while the disk has them.
#[derive(Debug)]
pub(super) enum Work {
    /// It is done already.
    Nothing,
    Read {
        at: u64,
        into: Option<Buffers>,
    },
    Write {
        at: u64,
        from: Option<Buffers>,
    },
    Flush,
    Discard(Vec<Range<u64>>),
    Zero(Vec<Range<u64>>),
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub reply: Reply,
    work: Work,
    /// Operations the disk has.
    parts: usize,
    status: Status,
    /// Whether to flush when the parts are done.
    flush: bool,
    /// Some of it found no room.
    starved: bool,
}

/// What is next for a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The disk has more of it, or has it again.
    Wait,
    /// It is to be given to the disk once more, when there is room.
    Keep,
    /// It is over.
    Answer(Status),
}

impl Work {
    /// Whether the disk's contents change.
    fn modifies(&self) -> bool {
        matches!(self, Work::Write { .. } | Work::Discard(_) | Work::Zero(_))
    }

    /// Whether it may need room.
    fn grows(&self) -> bool {
        self.modifies() || matches!(self, Work::Flush)
    }

    /// Gives all of it to `disk`; returns how many operations that is.
    fn submit(&mut self, disk: &mut dyn Disk, tag: Tag) -> usize {
        const HOME: &str = "the disk returns the buffers it was given";
        match self {
            Work::Nothing => return 0,
            Work::Read { at, into } => {
                disk.submit(Op::Read { at: *at, into: into.take().expect(HOME) }, tag);
            }
            Work::Write { at, from } => {
                disk.submit(Op::Write { at: *at, from: from.take().expect(HOME) }, tag);
            }
            Work::Flush => disk.submit(Op::Flush, tag),
            Work::Discard(ranges) => return submit_each(disk, tag, ranges, Op::Discard),
            Work::Zero(ranges) => return submit_each(disk, tag, ranges, Op::Zero),
        }
        1
    }

    fn take_back(&mut self, buffers: Option<Buffers>) {
        if let Work::Read { into: home, .. } | Work::Write { from: home, .. } = self {
            *home = buffers;
        }
    }
}

fn submit_each(
    disk: &mut dyn Disk,
    tag: Tag,
    ranges: &[Range<u64>],
    op: fn(Range<u64>) -> Op,
) -> usize {
    ranges.iter().for_each(|range| disk.submit(op(range.clone()), tag));
    ranges.len()
}

impl Pending {
    /// A request the disk has nothing of. With `write_through` a change is flushed before it
    /// counts as done.
    pub fn new(reply: Reply, work: Work, write_through: bool) -> Self {
        let flush = write_through && work.modifies();
        Pending { reply, work, parts: 0, status: Status::Ok, flush, starved: false }
    }

    /// Whether the disk has some of it.
    pub fn is_in_flight(&self) -> bool {
        self.parts > 0
    }

    /// Gives it to `disk`, for the first time or once more. All of a request is repeated, not only
    /// what failed of it: nobody was told that any of it is done.
    pub fn submit(&mut self, disk: &mut dyn Disk, tag: Tag) -> Next {
        self.starved = false;
        self.parts = self.work.submit(disk, tag);
        if self.parts == 0 { Next::Answer(self.status) } else { Next::Wait }
    }

    /// Whether it is worth repeating after `error`.
    pub fn is_starved_by(&self, error: &blockdev::Error) -> bool {
        self.work.grows() && error.kind() == ErrorKind::NoSpace
    }

    /// Marks it to be repeated when all its parts have ended.
    pub fn starve(&mut self) {
        self.starved = true;
    }

    /// Marks it as failed.
    pub fn fail(&mut self) {
        self.status = Status::IoError;
    }

    /// Takes in that a part has ended.
    pub fn finish_part(&mut self, done: Done, disk: &mut dyn Disk) -> Next {
        self.parts -= 1;
        self.work.take_back(done.buffers);
        match self.status {
            _ if self.parts > 0 => Next::Wait,
            Status::Ok if self.starved => Next::Keep,
            Status::Ok if self.flush => {
                self.flush = false;
                self.work = Work::Flush;
                self.submit(disk, done.tag)
            }
            status => Next::Answer(status),
        }
    }
}
