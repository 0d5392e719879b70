//! Requests (spec 5.2.6): from a chain's memory to what a disk shall do.
//!
//! ```text
//!   readable  ┌ type ─┬ reserved ┬ sector ────────┬ data to write, or ranges ─ ─ ┐
//!             0       4          8                16
//!   writable  ┌ data that is read ─ ─ ┬ status ┐
//!                                     the last byte
//! ```
//!
//! A pure function of the chain, guest memory, and the terms; nothing is read twice.

use std::ops::Range;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN,
    VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};
use vm_memory::{GuestAddress, GuestMemoryBackend};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::QUEUE_SIZE;
use crate::virtio::GuestMemory;
use crate::virtio::chain::{Chain, Span};

/// The unit of sector numbers, whatever the block size.
pub(super) const SECTOR_SIZE: u32 = 512;
/// Descriptors with data in one request: a queue full, less header and status.
pub(super) const MAX_SEGMENTS: u32 = QUEUE_SIZE as u32 - 2;
/// Bytes of data in one descriptor. A request may have them otherwise distributed, but not more:
/// so what a full queue keeps the disk busy with, and a reset waiting for, is bounded.
pub(super) const MAX_SEGMENT_LEN: u32 = 128 << 10;
/// The length of what GET_ID answers.
pub(super) const ID_LEN: usize = 20;
/// Ranges in one discard or write-zeroes.
pub(super) const MAX_RANGES: u32 = 16;
/// Sectors in one such range: 1 GiB.
pub(super) const MAX_RANGE_SECTORS: u32 = 1 << 21;

const HEADER_LEN: u64 = size_of::<Header>() as u64;
const RANGE_LEN: u64 = size_of::<RangeEntry>() as u64;
const ID_BYTES: u64 = ID_LEN as u64;
const MAX_DATA: u64 = MAX_SEGMENTS as u64 * MAX_SEGMENT_LEN as u64;

/// What device and driver agreed on, and the device's own facts.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// In bytes, a multiple of 512.
    pub size: u64,
    pub read_only: bool,
    pub discard: bool,
    pub write_zeroes: bool,
    /// The driver cannot flush, so a write is durable when it completes (spec 5.2.6.2).
    pub write_through: bool,
    pub id: [u8; ID_LEN],
}

/// A request in order. Offsets and ranges are in bytes, multiples of 512, inside the disk.
#[derive(Debug)]
pub(super) enum Request<'a> {
    Read { at: u64, into: Span<'a> },
    Write { at: u64, from: Span<'a> },
    Flush,
    Discard(Vec<Range<u64>>),
    Zero(Vec<Range<u64>>),
    Id { into: Span<'a> },
}

/// How a request ended (`VIRTIO_BLK_S_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

/// Where a request's status goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// The status byte.
    pub status: GuestAddress,
    /// How many writable bytes are before it.
    data: u32,
}

impl Reply {
    /// What the used ring says was written: the first so-and-so many bytes, so none where a read
    /// failed and only the status, behind the data, is sure (spec 2.7.8.2 allows less than the
    /// truth).
    pub fn written(&self, status: Status) -> u32 {
        if self.data == 0 || status == Status::Ok { self.data.saturating_add(1) } else { 0 }
    }
}

/// The first bytes of a request.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    kind: U32,
    reserved: U32,
    sector: U64,
}

/// `struct virtio_blk_discard_write_zeroes`.
#[derive(Clone, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct RangeEntry {
    sector: U64,
    sectors: U32,
    flags: U32,
}

/// Takes a request apart: where its status goes, and what it wants or why not.
///
/// None where there is no byte in memory for a status, so that it cannot be answered.
pub(super) fn parse<'a>(
    chain: &'a Chain,
    memory: &GuestMemory,
    terms: &Terms,
) -> Option<(Reply, Result<Request<'a>, Status>)> {
    let writable = chain.writable();
    let (data_in, status) = writable.split_at(writable.len().checked_sub(1)?)?;
    let status = memory.check_address(status.segments().next()?.start)?;
    let reply = Reply { status, data: u32::try_from(data_in.len()).ok()? };
    Some((reply, parse_readable(&chain.readable(), data_in, memory, terms)))
}

fn parse_readable<'a>(
    readable: &Span<'a>,
    data_in: Span<'a>,
    memory: &GuestMemory,
    terms: &Terms,
) -> Result<Request<'a>, Status> {
    let (header, data_out) = readable.split_at(HEADER_LEN).ok_or(Status::IoError)?;
    let header: Header = read(&header, memory)?;
    let at = |data: &Span<'_>| match data.len() {
        ..=MAX_DATA => Ok(terms.bytes(header.sector.get(), data.len())?.start),
        _ => Err(Status::IoError),
    };
    // Data in the direction that the type does not have means that we misunderstand each other.
    match (header.kind.get(), data_out.len(), data_in.len()) {
        (VIRTIO_BLK_T_IN, 0, 1..) => Ok(Request::Read { at: at(&data_in)?, into: data_in }),
        (VIRTIO_BLK_T_OUT, 1.., 0) if !terms.read_only => {
            Ok(Request::Write { at: at(&data_out)?, from: data_out })
        }
        (VIRTIO_BLK_T_FLUSH, 0, 0) => Ok(Request::Flush),
        (VIRTIO_BLK_T_GET_ID, 0, ID_BYTES) => Ok(Request::Id { into: data_in }),
        (VIRTIO_BLK_T_DISCARD, 1.., 0) if terms.discard => {
            Ok(Request::Discard(ranges(&data_out, 0, memory, terms)?))
        }
        (VIRTIO_BLK_T_WRITE_ZEROES, 1.., 0) if terms.write_zeroes => {
            // Zeroes take no room whether the driver allows that or not.
            let flags = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
            Ok(Request::Zero(ranges(&data_out, flags, memory, terms)?))
        }
        (VIRTIO_BLK_T_IN | VIRTIO_BLK_T_OUT | VIRTIO_BLK_T_FLUSH | VIRTIO_BLK_T_GET_ID, ..) => {
            Err(Status::IoError)
        }
        (VIRTIO_BLK_T_DISCARD, ..) if terms.discard => Err(Status::IoError),
        (VIRTIO_BLK_T_WRITE_ZEROES, ..) if terms.write_zeroes => Err(Status::IoError),
        _ => Err(Status::Unsupported),
    }
}

/// The ranges of a discard or write-zeroes whose `flags` may be set; empty ones are left out.
fn ranges(
    data: &Span<'_>,
    flags: u32,
    memory: &GuestMemory,
    terms: &Terms,
) -> Result<Vec<Range<u64>>, Status> {
    let count = data.len() / RANGE_LEN;
    if !data.len().is_multiple_of(RANGE_LEN) || count > MAX_RANGES.into() {
        return Err(Status::IoError);
    }
    let entries: [RangeEntry; MAX_RANGES as usize] = read(data, memory)?;
    let mut ranges = Vec::new();
    for (entry, _) in entries.iter().zip(0..count) {
        if entry.flags.get() & !flags != 0 {
            return Err(Status::Unsupported);
        }
        if entry.sectors.get() > MAX_RANGE_SECTORS {
            return Err(Status::IoError);
        }
        let len = u64::from(entry.sectors.get()) * u64::from(SECTOR_SIZE);
        ranges.push(terms.bytes(entry.sector.get(), len)?);
    }
    ranges.retain(|range| !range.is_empty());
    Ok(ranges)
}

impl Terms {
    /// `len` bytes from `sector` on, as a byte range inside the disk.
    fn bytes(&self, sector: u64, len: u64) -> Result<Range<u64>, Status> {
        let start = sector.checked_mul(SECTOR_SIZE.into());
        let end = start.and_then(|start| start.checked_add(len));
        match (start, end) {
            (Some(start), Some(end))
                if end <= self.size && len.is_multiple_of(SECTOR_SIZE.into()) =>
            {
                Ok(start..end)
            }
            _ => Err(Status::IoError),
        }
    }
}

/// Copies a value out of guest memory; what `from` is too short for is zero.
fn read<T: FromBytes + IntoBytes>(from: &Span<'_>, memory: &GuestMemory) -> Result<T, Status> {
    let mut value = T::new_zeroed();
    from.read(memory, value.as_mut_bytes()).map_err(|_| Status::IoError)?;
    Ok(value)
}

#[cfg(test)]
mod tests;
