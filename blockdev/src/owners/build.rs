//! Merges the bitmaps of a chain's frozen layers.

use super::{CHUNK, Chunk, Owner, Owners};
use crate::delta::{Frozen, SECTOR_BLOCKS, SectorBits};
use crate::{Error, Result};

/// Chunks merged at a time: what is held in memory beside the result.
const WINDOW: usize = 128;

/// Reads the bitmaps of `layers`, from the bottom up, and says who owns each of `blocks` blocks.
///
/// # Errors
/// A bitmap cannot be read or is damaged.
pub(crate) fn build(layers: &[Frozen], blocks: u64) -> Result<Owners> {
    let count = blocks.div_ceil(SECTOR_BLOCKS);
    let mut chunks = Vec::new();
    let reserved = usize::try_from(count).ok().map(|count| chunks.try_reserve_exact(count));
    if let (None | Some(Err(_)), Some(top)) = (reserved, layers.last()) {
        return Err(Error::Memory { path: top.path().into() });
    }
    let mut window: Vec<[Owner; CHUNK]> = Vec::new();
    for start in (0..count).step_by(WINDOW) {
        let len = usize::try_from(count - start).map_or(WINDOW, |left| left.min(WINDOW));
        let end = start + len as u64;
        window.clear();
        window.resize(len, [0; CHUNK]);
        for (owner, layer) in (1..).zip(layers) {
            layer.bitmap(start..end, |sector, bits| {
                let chunk = usize::try_from(sector - start).expect("it is in the window");
                paint(&mut window[chunk], bits, owner);
            })?;
        }
        chunks.extend(window.iter().map(Chunk::of));
    }
    Ok(Owners { chunks })
}

/// Gives the blocks of `bits` to `owner`.
pub(super) fn paint(chunk: &mut [Owner; CHUNK], bits: &SectorBits, owner: Owner) {
    for (blocks, &word) in chunk.as_chunks_mut::<64>().0.iter_mut().zip(bits) {
        if word == u64::MAX {
            *blocks = [owner; 64];
            continue;
        }
        let mut word = word;
        while word != 0 {
            blocks[word.trailing_zeros() as usize] = owner;
            word &= word - 1;
        }
    }
}
