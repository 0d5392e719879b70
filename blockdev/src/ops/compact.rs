//! Giving back the space of zeroes.

use std::ops::Range;

use super::pace::Step::{Looked, Moved};
use super::pace::{Pace, Progress};
use crate::copy::Watch;
use crate::delta::{BLOCK, Delta};
use crate::layers::bytes;
use crate::{Result, Stack};

impl Stack {
    /// Punches every block of the top layer that holds nothing but zeroes, and returns how many
    /// bytes of blocks that were.
    ///
    /// # Errors
    /// Another operation is under way, the file fails, or `watch` broke it off; nothing is lost.
    pub fn compact(&self, pace: Pace, watch: Watch<'_>) -> Result<u64> {
        let _alone = self.change()?;
        let layers = self.current.get();
        let delta = layers.top()?;
        let _locking = delta.lock_owned_blocks();
        let size = layers.size();
        let mut progress = Progress::new(pace, size, watch);
        let (mut at, mut punched) = (0, 0);
        while at < size {
            let (owned, len) = delta.run(at..size);
            let data = if owned { delta.data_in(at..at + len)? } else { None };
            let Some(start) = data else {
                at = progress.step(at, || Ok(Looked(at + len)))?;
                continue;
            };
            let start = start / BLOCK * BLOCK;
            let part = start..(start + pace.part()).min(at + len);
            at = progress.step(at, || {
                punched += punch_zeroes(delta, &part)?;
                Ok(Moved(part.end))
            })?;
        }
        Ok(punched)
    }
}

/// Punches the blocks of `range`, all owned, that hold only zeroes; returns their bytes.
fn punch_zeroes(delta: &Delta, range: &Range<u64>) -> Result<u64> {
    let range = range.start..range.end.next_multiple_of(BLOCK);
    let _permit = delta.wait_for_permit(&range)?;
    let mut data = vec![0; bytes(range.end - range.start)];
    delta.read(&mut data, range.start)?;
    let (mut at, mut punched) = (range.start, 0);
    let blocks: Vec<bool> =
        data.chunks(bytes(BLOCK)).map(|block| block.iter().all(|&byte| byte == 0)).collect();
    for run in blocks.chunk_by(|a, b| a == b) {
        let end = at + run.len() as u64 * BLOCK;
        if run[0] {
            delta.punch(at..end)?;
            punched += end - at;
        }
        at = end;
    }
    Ok(punched)
}
