//! `BLOCK_STATUS` (proto.md, "Metadata querying", `base:allocation`).

use std::ops::Range;

use blockdev::{Extent, Stack};

use super::protocol::state;

/// Extents in one reply.
const MOST_EXTENTS: usize = 1024;
/// Questions for one reply; a disk written here and there has that many pieces.
const MOST_QUESTIONS: usize = 4096;

/// What the start of `range` is made of, as lengths and states, neighbours different: of all of
/// it, unless that takes too long. At least one where the range is not empty.
///
/// # Errors
/// As [`Stack::extent`].
pub fn extents(
    stack: &Stack,
    range: Range<u64>,
    one: bool,
) -> Result<Vec<(u32, u32)>, blockdev::Error> {
    let most = if one { 1 } else { MOST_EXTENTS };
    let mut extents = Vec::<(u32, u32)>::new();
    let mut at = range.start;
    for _ in 0..MOST_QUESTIONS {
        let (extent, len) = stack.extent(at..range.end)?;
        // A request is not longer than that.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let state = state(extent);
        let full = extents.len() == most;
        match extents.last_mut() {
            _ if len == 0 => break,
            Some((total, last)) if *last == state => *total = total.saturating_add(len),
            _ if full => break,
            _ => extents.push((len, state)),
        }
        at += u64::from(len);
    }
    Ok(extents)
}

fn state(extent: Extent) -> u32 {
    match extent {
        Extent::Data => 0,
        Extent::Zero => state::HOLE | state::ZERO,
    }
}
