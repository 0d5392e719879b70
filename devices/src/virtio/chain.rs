//! A descriptor chain: the memory of one request, gathered once.
//!
//! The descriptors are read here and never again. What they point to is checked when it is used,
//! since most of it is handed on unread. How the driver cut a request into descriptors means
//! nothing (spec 2.7.4): devices see two runs of bytes, readable and writable, and take
//! [`Span`]s out of them by position.

use std::ops::Range;

use virtio_queue::DescriptorChain;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryError};

use super::GuestMemory;

/// One descriptor's memory, not checked to be memory at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte.
    pub start: GuestAddress,
    /// Length in bytes; may be 0.
    pub len: u32,
}

/// A request's memory.
#[derive(Clone, Debug)]
pub struct Chain {
    head: u16,
    segments: Vec<Segment>,
    /// How many of the segments, from the first, are readable; the others are writable.
    readable: usize,
}

impl Chain {
    /// Reads the descriptors of a chain that may have `limit` of them.
    pub(super) fn collect(
        descriptors: DescriptorChain<&GuestMemory>,
        limit: u16,
    ) -> Result<Chain, &'static str> {
        let mut chain = Chain { head: descriptors.head_index(), segments: Vec::new(), readable: 0 };
        // The iterator just ends where it cannot go on: a chain is whole if, and only if, its
        // last descriptor said that it was the last.
        let mut whole = false;
        for descriptor in descriptors {
            if chain.segments.len() >= usize::from(limit) {
                return Err("it is longer than the queue");
            }
            chain.add(&descriptor)?;
            whole = !descriptor.has_next();
        }
        if whole { Ok(chain) } else { Err("it loops, or leaves its table or memory") }
    }

    fn add(&mut self, descriptor: &Descriptor) -> Result<(), &'static str> {
        if !descriptor.is_write_only() {
            if self.readable < self.segments.len() {
                return Err("a readable descriptor follows a writable one");
            }
            self.readable += 1;
        }
        self.segments.push(Segment { start: descriptor.addr(), len: descriptor.len() });
        Ok(())
    }

    /// The first descriptor's index, by which the chain is returned.
    #[must_use]
    pub fn head(&self) -> u16 {
        self.head
    }

    /// What the device may read.
    #[must_use]
    pub fn readable(&self) -> Span<'_> {
        Span::new(&self.segments[..self.readable])
    }

    /// What the device may write.
    #[must_use]
    pub fn writable(&self) -> Span<'_> {
        Span::new(&self.segments[self.readable..])
    }
}

/// A run of bytes of a chain.
#[derive(Clone, Debug)]
pub struct Span<'a> {
    segments: &'a [Segment],
    range: Range<u64>,
}

impl<'a> Span<'a> {
    fn new(segments: &'a [Segment]) -> Self {
        let len = segments.iter().map(|segment| u64::from(segment.len)).sum();
        Span { segments, range: 0..len }
    }

    /// Its length in bytes; of a whole chain's together less than 2^32.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Whether there is no byte in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The span up to `at` and the one from there on; none when it is shorter.
    #[must_use]
    pub fn split_at(&self, at: u64) -> Option<(Span<'a>, Span<'a>)> {
        let middle = self.range.start.checked_add(at).filter(|&middle| middle <= self.range.end)?;
        let part = |range| Span { segments: self.segments, range };
        Some((part(self.range.start..middle), part(middle..self.range.end)))
    }

    /// The pieces of memory in it, in order, none of them empty.
    pub fn segments(&self) -> impl Iterator<Item = Segment> + 'a {
        let wanted = self.range.clone();
        let mut position = 0;
        self.segments.iter().filter_map(move |segment| {
            let whole = position..position + u64::from(segment.len);
            position = whole.end;
            let start = whole.start.max(wanted.start);
            let len = whole.end.min(wanted.end).checked_sub(start).filter(|&len| len > 0)?;
            // A segment that leaves the address space is kept as it is, to be found out by use.
            let offset = start - whole.start;
            let start = segment.start.checked_add(offset).unwrap_or(GuestAddress(u64::MAX));
            Some(Segment { start, len: u32::try_from(len).ok()? })
        })
    }

    /// Copies the span's first bytes out, as many as `into` and the span have; returns how many.
    ///
    /// # Errors
    /// A part of it is not memory.
    pub fn read(&self, memory: &GuestMemory, into: &mut [u8]) -> Result<usize, GuestMemoryError> {
        let mut done = 0;
        for segment in self.segments() {
            let rest = &mut into[done..];
            let len = rest.len().min(segment.len as usize);
            memory.read_slice(&mut rest[..len], segment.start)?;
            done += len;
        }
        Ok(done)
    }

    /// Copies `from` to the span's first bytes, as much as fits; returns how many bytes did.
    ///
    /// # Errors
    /// A part of it is not memory.
    pub fn write(&self, memory: &GuestMemory, from: &[u8]) -> Result<usize, GuestMemoryError> {
        let mut done = 0;
        for segment in self.segments() {
            let rest = &from[done..];
            let len = rest.len().min(segment.len as usize);
            memory.write_slice(&rest[..len], segment.start)?;
            done += len;
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests;
