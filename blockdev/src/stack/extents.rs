//! Which parts of a disk are zeroes, told without reading them.
//!
//! What a layer owns is told by its bitmap; only where that says *data* are the holes of the
//! layer's file looked at, because bytes that lie in a hole are zeroes whatever owns them.

use std::ops::Range;

use super::Stack;
use crate::delta::SECTOR;
use crate::layers::Place;
use crate::{Error, Result};

/// What a part of a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Bytes somebody wrote; they may be zeroes all the same.
    Data,
    /// Zeroes that take no room.
    Zero,
}

impl Stack {
    /// What the start of `range` is, and how many bytes from there on are sure to be alike. More
    /// may be: ask again from there. A range that is empty or outside the disk has none.
    ///
    /// Who writes at the same time may make the answer old.
    ///
    /// # Errors
    /// A layer's file does not tell its holes.
    pub fn extent(&self, range: Range<u64>) -> Result<(Extent, u64)> {
        let range = range.start..range.end.min(self.size());
        if range.is_empty() {
            return Ok((Extent::Zero, 0));
        }
        let layers = self.current.get();
        match layers.lookup(range.clone()) {
            (Place::Zero, len) => Ok((Extent::Zero, len)),
            (Place::Data { layer, offset }, len) => {
                let data = layers.storage(layer).data_in(offset..offset + len);
                let data = data.map_err(Error::read(layers.path(layer), offset))?;
                // A base may end within a sector, of which the rest is zeroes then.
                let len = len.next_multiple_of(SECTOR).min(range.end - range.start);
                Ok(first(offset, len, data))
            }
        }
    }
}

/// The start of `len` bytes at `offset` of a file that has `data` next. In whole sectors: one that
/// is partly data is data.
fn first(offset: u64, len: u64, data: Option<Range<u64>>) -> (Extent, u64) {
    let Some(data) = data else { return (Extent::Zero, len) };
    match data.start.saturating_sub(offset) / SECTOR * SECTOR {
        0 => {
            let end = data.end.saturating_sub(offset).checked_next_multiple_of(SECTOR);
            (Extent::Data, end.unwrap_or(len).clamp(SECTOR.min(len), len))
        }
        hole => (Extent::Zero, hole.min(len)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Clone, run, write};
    use crate::{Engine, Op};

    /// All extents of the disk, neighbours of a kind as one.
    fn map(stack: &Stack) -> Vec<(Extent, u64)> {
        let (mut at, mut map) = (0, Vec::<(Extent, u64)>::new());
        while at < stack.size() {
            let (extent, len) = stack.extent(at..stack.size()).unwrap();
            assert!(len > 0 && len.is_multiple_of(SECTOR), "{len} bytes at {at}");
            match map.last_mut() {
                Some((last, so_far)) if *last == extent => *so_far += len,
                _ => map.push((extent, len)),
            }
            at += len;
        }
        map
    }

    #[test]
    fn written_blocks_are_data_and_all_else_is_zero() {
        let clone = Clone::new(&[0; 8192], 1 << 20);
        let stack = clone.open();
        let mut disk = stack.disk(Engine::Sync).unwrap();
        write(&mut *disk, 65536, &[7; 4096]).unwrap();
        write(&mut *disk, 512 * 1024, &[7; 8192]).unwrap();
        run(&mut *disk, Op::Zero(512 * 1024..512 * 1024 + 4096)).unwrap();
        let (data, zero) = (Extent::Data, Extent::Zero);
        let expected = [
            (zero, 65536),
            (data, 4096),
            (zero, (512 - 68) * 1024 + 4096),
            (data, 4096),
            (zero, (512 - 8) * 1024),
        ];
        assert_eq!(map(&stack), expected);
    }

    #[test]
    fn a_base_that_ends_within_a_sector_is_data_to_the_end_of_it() {
        let stack = Clone::new(&[7; 4096 + 100], 1 << 20).open();
        assert_eq!(map(&stack), [(Extent::Data, 4608), (Extent::Zero, (1 << 20) - 4608)]);
    }

    #[test]
    fn a_range_outside_the_disk_has_no_extent() {
        let stack = Clone::new(&[7; 4096], 8192).open();
        assert_eq!(stack.extent(8192..9000).unwrap(), (Extent::Zero, 0));
        assert_eq!(stack.extent(4096..u64::MAX).unwrap(), (Extent::Zero, 4096));
    }
}
