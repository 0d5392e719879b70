//! Giving the top layer another parent.

use std::ops::Range;

use super::absorb::take;
use super::pace::Step::{Looked, Moved};
use super::pace::{Pace, Progress};
use super::transfer::End;
use crate::chain::Chain;
use crate::copy::Watch;
use crate::delta::{BLOCK, Delta, Parent};
use crate::layers::{Layers, Place, bytes};
#[cfg(test)]
use crate::seeded::{Bug, seeded};
use crate::{Result, Stack, StackSpec};

/// Bytes looked at for differences before progress is told.
const WINDOW: u64 = 1 << 30;

impl Stack {
    /// Makes the top layer stand on nothing: what it needs from below is copied up. The layers
    /// below are no longer of any use to it.
    ///
    /// # Errors
    /// As [`rebase`](Stack::rebase).
    pub fn flatten(&self, pace: Pace, watch: Watch<'_>) -> Result<()> {
        self.rebase(&StackSpec::default(), pace, watch)
    }

    /// Makes the top layer stand on the chain `below`, which has no delta of its own. What reads
    /// otherwise there than below the top layer now is copied up first.
    ///
    /// `below` is trusted to be what its headers and records say: check the digest of a base
    /// before.
    ///
    /// # Errors
    /// Another operation is under way, `below` cannot be opened, there is no room, or `watch` broke
    /// it off. The layer then stands where it stood, and reads as it did.
    pub fn rebase(&self, below: &StackSpec, pace: Pace, watch: Watch<'_>) -> Result<()> {
        let _alone = self.change()?;
        self.rebase_alone(below, pace, watch)
    }

    /// As [`rebase`](Stack::rebase), for somebody who has leave to change the layers.
    pub(super) fn rebase_alone(
        &self,
        below: &StackSpec,
        pace: Pace,
        watch: Watch<'_>,
    ) -> Result<()> {
        let chain = Chain::open_below(below)?;
        let owners = chain.owners(below.owners.as_deref())?;
        self.stand_on(chain.as_parent()?, Layers::new(chain, owners), pace, watch)
    }

    /// Gives the top layer `parent`, which is the topmost of `target`.
    pub(crate) fn stand_on(
        &self,
        parent: Parent,
        target: Layers,
        pace: Pace,
        watch: Watch<'_>,
    ) -> Result<()> {
        let layers = self.current.get();
        let delta = layers.top()?;
        let size = layers.size();
        let visible = parent.size.min(size);
        let target = target.seen_through(visible);
        let mut progress = Progress::new(pace, size, watch);
        let mut at = 0;
        while at < size {
            let window = at..(at + WINDOW).min(size);
            let start = first_difference(&layers, &target, delta, window.clone())?;
            let end = (start + pace.part()).min(size);
            at = progress.step(start, || match start < window.end {
                true => copy_up(&layers, &target, delta, &(start..end)).map(|()| Moved(end)),
                false => Ok(Looked(start)),
            })?;
        }
        let parent = Parent { visible, ..parent };
        #[cfg(test)]
        if seeded(Bug::RelinkBeforeFlush) {
            delta.relink(parent.clone())?;
        }
        layers.sync()?;
        delta.relink(parent)?;
        self.current.publish(target.under(delta));
        Ok(())
    }
}

/// The first block of `range`, or its end, that has to be compared: all before are owned by
/// `delta`, or in the same place, or in holes, below it and in `target`.
fn first_difference(
    layers: &Layers,
    target: &Layers,
    delta: &Delta,
    range: Range<u64>,
) -> Result<u64> {
    let mut at = range.start;
    while at < range.end {
        let (owned, len) = delta.run(at..range.end);
        let same = if owned { len } else { same(layers, target, at..at + len)? };
        at += same;
        if same < len {
            break;
        }
    }
    Ok(if at == range.end { at } else { at / BLOCK * BLOCK })
}

fn same(layers: &Layers, target: &Layers, range: Range<u64>) -> Result<u64> {
    let (old, old_len) = layers.lookup_below(range.clone());
    let (new, new_len) = target.lookup(range.clone());
    let len = old_len.min(new_len);
    Ok(match (old, new) {
        (Place::Zero, Place::Zero) => len,
        (Place::Data { .. }, Place::Data { .. }) => {
            if layers.is_same_place(old, target, new) {
                len
            } else {
                0
            }
        }
        (Place::Data { layer, offset }, Place::Zero) => layers.hole(layer, offset, len)?,
        (Place::Zero, Place::Data { layer, offset }) => target.hole(layer, offset, len)?,
    })
}

/// Takes into `delta` each block of `range` that it does not own and that reads otherwise in
/// `target`.
fn copy_up(layers: &Layers, target: &Layers, delta: &Delta, range: &Range<u64>) -> Result<()> {
    let permit = delta.wait_for_permit(range)?;
    if let Some(from) = clonable(layers, target, delta, range) {
        return take(delta, from, range, &permit);
    }
    let len = bytes(range.end - range.start).next_multiple_of(bytes(BLOCK));
    let (mut old, mut new) = (vec![0; len], vec![0; len]);
    layers.read_below(&mut old[..bytes(range.end - range.start)], range.start)?;
    target.read_bytes(&mut new[..bytes(range.end - range.start)], range.start)?;
    let mut at = range.start;
    while at < range.end {
        let wanted = |at: u64| {
            let block = bytes(at - range.start)..bytes(at - range.start + BLOCK);
            #[cfg(test)]
            let block = match seeded(Bug::RebaseComparesSectors) {
                true => block.start..block.start + 512,
                false => block,
            };
            !delta.owns(at) && old[block.clone()] != new[block]
        };
        let take = wanted(at);
        let start = at;
        while at < range.end && wanted(at) == take {
            at += BLOCK;
        }
        if take {
            let taken = &old[bytes(start - range.start)..bytes(at - range.start)];
            delta.take_blocks(taken, start, &permit)?;
        }
    }
    Ok(())
}

/// Where all of `range` lies in one piece, if all of it is to be copied up.
fn clonable<'a>(
    layers: &'a Layers,
    target: &Layers,
    delta: &Delta,
    range: &Range<u64>,
) -> Option<End<'a>> {
    let len = range.end - range.start;
    let wanted = range.end.is_multiple_of(BLOCK)
        && delta.run(range.clone()) == (false, len)
        && target.lookup(range.clone()) == (Place::Zero, len);
    match layers.lookup_below(range.clone()) {
        (Place::Data { layer, offset }, count) if wanted && count == len => {
            let (path, storage) = (layers.path(layer), layers.storage(layer));
            Some(End { path, storage, offset: offset - range.start })
        }
        _ => None,
    }
}

/// Gives the frozen layer `spec.delta` the parent `below`, as [`Stack::rebase`] does for a live
/// one. Others may have it open meanwhile: it reads as it did.
///
/// # Errors
/// As for [`Stack::rebase`]; or somebody else is at the same.
pub fn rebase_frozen(
    spec: &StackSpec,
    below: &StackSpec,
    pace: Pace,
    watch: Watch<'_>,
) -> Result<()> {
    Stack::open_frozen(spec)?.rebase(below, pace, watch)
}
