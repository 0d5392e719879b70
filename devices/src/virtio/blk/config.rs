//! The configuration space (spec 5.2.4).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

use super::request::{MAX_RANGE_SECTORS, MAX_RANGES, MAX_SEGMENT_LEN, MAX_SEGMENTS, SECTOR_SIZE};

/// A physical block is this power of two of sectors: 4096 bytes, what deltas count in.
const PHYSICAL_BLOCK_EXP: u8 = 3;
const BLOCK_SECTORS: u16 = 1 << PHYSICAL_BLOCK_EXP;

/// `struct virtio_blk_config`, as far as our features reach.
#[derive(Clone, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Config {
    capacity: U64,
    size_max: U32,
    seg_max: U32,
    geometry: [u8; 4],
    blk_size: U32,
    physical_block_exp: u8,
    alignment_offset: u8,
    min_io_size: U16,
    opt_io_size: U32,
    writeback: u8,
    unused0: u8,
    num_queues: U16,
    max_discard_sectors: U32,
    max_discard_seg: U32,
    discard_sector_alignment: U32,
    max_write_zeroes_sectors: U32,
    max_write_zeroes_seg: U32,
    write_zeroes_may_unmap: u8,
    unused1: [u8; 3],
}

impl Config {
    pub fn new(size: u64, queues: u16) -> Self {
        Config {
            capacity: (size / u64::from(SECTOR_SIZE)).into(),
            size_max: MAX_SEGMENT_LEN.into(),
            seg_max: MAX_SEGMENTS.into(),
            geometry: [0; 4],
            blk_size: SECTOR_SIZE.into(),
            physical_block_exp: PHYSICAL_BLOCK_EXP,
            alignment_offset: 0,
            min_io_size: BLOCK_SECTORS.into(),
            opt_io_size: 0.into(),
            writeback: 0,
            unused0: 0,
            num_queues: queues.into(),
            max_discard_sectors: MAX_RANGE_SECTORS.into(),
            max_discard_seg: MAX_RANGES.into(),
            discard_sector_alignment: u32::from(BLOCK_SECTORS).into(),
            max_write_zeroes_sectors: MAX_RANGE_SECTORS.into(),
            max_write_zeroes_seg: MAX_RANGES.into(),
            write_zeroes_may_unmap: 1,
            unused1: [0; 3],
        }
    }
}
