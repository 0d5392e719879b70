//! The stream of requests: bytes in, requests out, as they come to be whole.
//!
//! ```text
//!   socket ──► buffer ──► header, check ──┬─► request
//!         └──────────────► data to write ─┘      long data go straight to where they are needed
//! ```
//!
//! Values only. Data of a request that is refused are skipped, whatever their length.

use std::ops::Range;

use blockdev::Buffers;
use blockdev::buffers::Target;

use super::budget::{Budget, Pool};
use super::export::{Export, Terms};
use super::handshake::Violation;
use super::request::{Command, Errno, Header};

/// Many small requests in one call.
const BUFFER: usize = 128 << 10;

/// Bytes of zeroes written at once where they shall not be a hole.
pub const FILL_STEP: usize = 1 << 20;

/// A request that is whole, or refused.
#[derive(Debug)]
pub struct Request {
    /// Comes back with the reply.
    pub cookie: u64,
    /// What it wants, or why it does not get it.
    pub command: Result<Command, Errno>,
    /// The data of a write.
    pub data: Option<Buffers>,
}

impl Request {
    /// Bytes of memory it takes until it is answered.
    pub fn cost(&self) -> usize {
        self.command.as_ref().map_or(0, cost)
    }
}

/// What comes next in the stream.
#[derive(Debug)]
enum Stage {
    Header,
    /// Data of a write, which has some of it.
    Data {
        request: Request,
        filled: usize,
    },
    /// Data of a request that has been refused.
    Skip {
        left: usize,
    },
}

/// A client's requests as far as they have come.
#[derive(Debug)]
pub struct Receiver {
    buffer: Box<[u8]>,
    /// What of the buffer has been received and not been used.
    start: usize,
    end: usize,
    stage: Stage,
}

impl Receiver {
    /// A stream that begins with what is left over from before.
    pub fn new(left_over: &[u8]) -> Self {
        let mut buffer = vec![0; BUFFER.max(left_over.len())].into_boxed_slice();
        buffer[..left_over.len()].copy_from_slice(left_over);
        Receiver { buffer, start: 0, end: left_over.len(), stage: Stage::Header }
    }

    /// The next request; nothing where it is not all there, or there is no room for it.
    ///
    /// # Errors
    /// The client lost the thread.
    pub fn next(
        &mut self,
        export: &Export,
        terms: Terms,
        budget: &Budget,
        pool: &mut Pool,
    ) -> Result<Option<Request>, Violation> {
        loop {
            match &mut self.stage {
                Stage::Header => {
                    let Some(header) = self.header()? else { return Ok(None) };
                    let command = header.check(export, terms);
                    if !budget.admits(command.as_ref().map_or(0, cost)) {
                        return Ok(None);
                    }
                    self.start += Header::LEN;
                    if let Some(request) = self.begin(&header, command, pool) {
                        return Ok(Some(request));
                    }
                }
                Stage::Data { request, filled } => {
                    let Some(data) = &request.data else { return Ok(self.finish()) };
                    let target = data.target(*filled..data.len());
                    let count = target.len().min(self.end - self.start);
                    target.copy_from(&self.buffer[self.start..self.start + count]);
                    *filled += count;
                    self.start += count;
                    return Ok(if *filled == data.len() { self.finish() } else { None });
                }
                Stage::Skip { left } => {
                    let count = (*left).min(self.end - self.start);
                    *left -= count;
                    self.start += count;
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.stage = Stage::Header;
                }
            }
        }
    }

    /// Whether there is a header; after [`next`](Receiver::next) returned nothing, one that has to
    /// wait for room.
    pub fn is_held_up(&self) -> bool {
        matches!(self.stage, Stage::Header) && self.end - self.start >= Header::LEN
    }

    /// Memory for what comes next; never empty. Call [`received`](Receiver::received) afterwards.
    pub fn room(&mut self) -> impl Iterator<Item = Target<'_>> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let data = match &self.stage {
            // What is in the buffer comes before.
            Stage::Data { request, filled } if self.end == 0 => {
                request.data.as_ref().map(|data| data.target(*filled..data.len()))
            }
            _ => None,
        };
        data.into_iter().chain([Target::from(&mut self.buffer[self.end..])])
    }

    /// The first `count` bytes of [`room`](Receiver::room) have been filled.
    pub fn received(&mut self, mut count: usize) {
        if let Stage::Data { request, filled } = &mut self.stage
            && let Some(data) = &request.data
            && self.end == 0
        {
            let direct = count.min(data.len() - *filled);
            *filled += direct;
            count -= direct;
        }
        self.end = (self.end + count).min(self.buffer.len());
    }

    fn header(&self) -> Result<Option<Header>, Violation> {
        let bytes = self.buffer.get(self.start..self.end).unwrap_or_default();
        bytes.first_chunk().map(Header::parse).transpose()
    }

    /// Goes on from a header; returns its request where that is all.
    fn begin(
        &mut self,
        header: &Header,
        command: Result<Command, Errno>,
        pool: &mut Pool,
    ) -> Option<Request> {
        let len = usize::try_from(header.payload()).unwrap_or(usize::MAX);
        let mut request = Request { cookie: header.cookie, command, data: None };
        match &request.command {
            Ok(Command::Write { .. }) => {
                request.data = Some(pool.take(len));
                self.stage = Stage::Data { request, filled: 0 };
                None
            }
            _ => {
                self.stage = if len > 0 { Stage::Skip { left: len } } else { Stage::Header };
                Some(request)
            }
        }
    }

    fn finish(&mut self) -> Option<Request> {
        match std::mem::replace(&mut self.stage, Stage::Header) {
            Stage::Data { request, .. } => Some(request),
            Stage::Header | Stage::Skip { .. } => None,
        }
    }
}

/// Bytes of memory a request takes.
fn cost(command: &Command) -> usize {
    match command {
        Command::Read(range) | Command::Write { range, .. } => length(range),
        Command::Zero { range, hole: false, .. } => length(range).min(FILL_STEP),
        _ => 0,
    }
}

/// Of a range that is in memory, or less.
pub fn length(range: &Range<u64>) -> usize {
    usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
}
