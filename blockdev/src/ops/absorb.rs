//! Merging a frozen layer into the one below it. docs/delta-format.md, Life: absorb.

use std::ops::Range;
use std::path::Path;

use super::pace::Step::{Looked, Moved};
use super::pace::{Pace, Progress};
use super::transfer::{End, Failed, transfer};
use crate::copy::Watch;
use crate::delta::{BLOCK, Delta, Frozen, Permit, SECTOR_BLOCKS, SectorBits, State};
use crate::layers::bytes;
#[cfg(test)]
use crate::seeded::{Bug, seeded};
use crate::{Error, Result};

/// Merges the delta `child` into the delta `parent` it stands on, so that `parent` reads as
/// `child` does. Nobody else may stand on `parent`, and nobody may have it open; `child` must be
/// frozen, or open by nobody.
///
/// Afterwards whoever stood on `child` can stand on `parent`, and `parent` can be on top: it is in
/// state absorbed. Until then `child` is what it was, and `parent` means something only below it. A
/// child that is live may be written to again: then `parent` has to absorb it again, and nobody else
/// may stand on that before.
///
/// # Errors
/// One is in use or damaged, `child` does not stand on `parent`, there is no room, or `watch` broke
/// it off. It can then be begun again.
pub fn absorb(parent: &Path, child: &Path, pace: Pace, watch: Watch<'_>) -> Result<()> {
    absorb_into(|| Delta::open(parent), &Frozen::open(child)?, pace, watch)
}

/// As [`absorb`], into the delta that `open` opens.
pub(crate) fn absorb_into(
    open: impl Fn() -> Result<Delta>,
    child: &Frozen,
    pace: Pace,
    watch: Watch<'_>,
) -> Result<()> {
    let opened = open()?;
    let header = opened.header();
    let (uuid, frozen) = (child.header().uuid, child.header().state == State::Frozen);
    match header.state {
        // What is frozen has not changed since.
        State::Absorbed(merged) if merged == uuid && frozen => return Ok(()),
        State::Absorbing(merged) | State::Absorbed(merged) if merged == uuid => {}
        State::Absorbing(child) => {
            return Err(Error::Absorbing { path: opened.path().into(), child });
        }
        _ => check_parent(&opened, child)?,
    }
    opened.begin_absorbing(child.header())?;
    drop(opened);
    // Opened again, at the length it has now.
    let parent = open()?;
    merge(&parent, child, pace, watch)?;
    #[cfg(test)]
    if seeded(Bug::AbsorbedBeforeFlush) {
        parent.end_absorbing(child.header())?;
    }
    parent.flush()?;
    parent.end_absorbing(child.header())
}

fn check_parent(parent: &Delta, child: &Frozen) -> Result<()> {
    let below = crate::chain::Below::Delta(parent.path(), parent.header());
    below.check(child.path(), child.header())
}

/// Copies down what `child` owns, and hides in `parent` what it hid.
fn merge(parent: &Delta, child: &Frozen, pace: Pace, watch: Watch<'_>) -> Result<()> {
    let size = child.header().size;
    let visible = child.header().parent.visible;
    let sectors = size.div_ceil(BLOCK).div_ceil(SECTOR_BLOCKS);
    let mut progress = Progress::new(pace, size, watch);
    for sector in 0..sectors {
        let first = sector * SECTOR_BLOCKS * BLOCK;
        let whole = first..(first + SECTOR_BLOCKS * BLOCK).min(size.next_multiple_of(BLOCK));
        let mut owned = Vec::new();
        child.bitmap(sector..sector + 1, |_, bits| owned = runs(bits, &whole))?;
        for run in &owned {
            copy_down(parent, child, run, pace, &mut progress)?;
        }
        hide(parent, &owned, whole.clone(), visible)?;
        progress.step(whole.end, || Ok(Looked(whole.end)))?;
    }
    Ok(())
}

/// What of the disk's bytes `whole` is owned by these bits, which begin there.
fn runs(bits: &SectorBits, whole: &Range<u64>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    let blocks = whole.clone().step_by(bytes(BLOCK));
    let owned = |index: usize| bits[index / 64] >> (index % 64) & 1 == 1;
    for (_, at) in blocks.enumerate().filter(|(index, _)| owned(*index)) {
        match runs.last_mut() {
            Some(last) if last.end == at => last.end += BLOCK,
            _ => runs.push(at..at + BLOCK),
        }
    }
    runs
}

/// Gives `parent` the bytes that `child` has in `run`.
fn copy_down(
    parent: &Delta,
    child: &Frozen,
    run: &Range<u64>,
    pace: Pace,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let mut at = run.start;
    while at < run.end {
        let part = at..(at + pace.part()).min(run.end);
        at = progress.step(at, || {
            let permit = parent.wait_for_permit(&part)?;
            let from =
                End { path: child.path(), storage: &**child.storage(), offset: child.offset(0) };
            take(parent, from, &part, &permit)?;
            Ok(Moved(part.end))
        })?;
    }
    Ok(())
}

/// Has `delta` own the blocks of `range`, with the bytes at the same offsets from `from` on. Holes
/// stay holes.
pub(super) fn take(
    delta: &Delta,
    from: End<'_>,
    range: &Range<u64>,
    permit: &Permit,
) -> Result<()> {
    let mut at = range.start;
    while at < range.end {
        let data = from.storage.data_in(from.offset + at..from.offset + range.end);
        let data = data.map_err(Error::read(from.path, from.offset + at))?;
        let data = data.map_or(range.end..range.end, |data| {
            let start = data.start.saturating_sub(from.offset) / BLOCK * BLOCK;
            let end = data.end.saturating_sub(from.offset).next_multiple_of(BLOCK);
            start.clamp(at, range.end)..end.clamp(at, range.end)
        });
        delta.punch(at..data.start)?;
        if !data.is_empty() {
            let from = End { offset: from.offset + data.start, ..from };
            let (path, storage) = (delta.path(), &**delta.storage());
            let to = End { path, storage, offset: delta.offset(data.start) };
            transfer(from, to, data.end - data.start).map_err(|failed| match failed {
                // It is no reason to write nothing more.
                Failed::Read(error) => Error::read(from.path, from.offset)(error),
                Failed::Write(error) => delta.write_failed(error, to.offset),
            })?;
        }
        at = data.end;
    }
    delta.own(range, permit);
    Ok(())
}

/// Zeroes what `parent` owns of `whole` beyond `visible`, but for what `child` owned there.
fn hide(parent: &Delta, owned: &[Range<u64>], whole: Range<u64>, visible: u64) -> Result<()> {
    if visible >= whole.end {
        return Ok(());
    }
    let mut at = whole.start.max(visible);
    for run in owned {
        if at < run.start {
            parent.blank(at..run.start)?;
        }
        at = at.max(run.end);
    }
    parent.blank(at..whole.end.max(at))
}
