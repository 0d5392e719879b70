//! Copying whole disks: a source that knows where it is empty, read once from front to back.
//!
//! ```text
//!   raw file ─┐                               ┌─► base      (digest computed on the way)
//!   qcow2    ─┼─► Source ─► stretches, in ────┼─► raw file  (holes where there are zeroes)
//!   vmdk     ─┤             order, no gaps    └─► qcow2
//!   Stack    ─┘
//! ```

mod file;
mod stack;

use std::ops::{ControlFlow, Range};
use std::os::fd::BorrowedFd;

pub use file::Raw;
pub(crate) use file::{clone_file, runs_of_data, write_sparse};

use crate::{Error, Extent, Result};

/// Bytes read, hashed or written at once; also how often progress is told.
pub(crate) const CHUNK: u64 = 1 << 20;

/// Told bytes done and bytes in all, empty ones too. What it breaks ends with
/// [`Error::Interrupted`], and what was being made is removed.
pub type Watch<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// A disk to be read once, from front to back.
pub trait Source {
    /// The disk's length in bytes; any number.
    fn size(&self) -> u64;

    /// What the byte at `at`, before the end, belongs to; and for how many bytes from there on, at
    /// least one, that is known to hold.
    ///
    /// # Errors
    /// The map cannot be read, or is damaged there.
    fn extent(&mut self, at: u64) -> Result<(Extent, u64)>;

    /// Fills `buf` with the bytes from `at` on, all of them before the end.
    ///
    /// # Errors
    /// They cannot be read.
    fn read(&mut self, buf: &mut [u8], at: u64) -> Result<()>;

    /// How many bytes of the disk are fewer in its file, because they are packed there.
    fn unpacked(&self) -> u64 {
        0
    }

    /// A file that holds exactly this disk, where there is one: filesystems can share its blocks.
    fn raw(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// One stretch of a disk, at most [`CHUNK`] long.
pub(crate) enum Stretch<'a> {
    /// Bytes that were read.
    Data(&'a [u8]),
    /// Zeroes.
    Hole,
}

/// Calls `visit` with the stretches of the disk, in order and without gaps. Each begins at a
/// multiple of `granule`, which divides [`CHUNK`].
pub(crate) fn for_each_stretch(
    source: &mut dyn Source,
    granule: u64,
    visit: &mut dyn FnMut(Range<u64>, Stretch<'_>) -> Result<()>,
) -> Result<()> {
    let size = source.size();
    let mut buffer = vec![0; usize::try_from(CHUNK.min(size)).expect("a chunk fits memory")];
    let mut at = 0;
    while at < size {
        let (extent, run) = next_run(source, at, granule)?;
        while at < run {
            let end = run.min(at + CHUNK);
            if extent == Extent::Zero {
                visit(at..end, Stretch::Hole)?;
            } else {
                let bytes = &mut buffer[..usize::try_from(end - at).expect("at most a chunk")];
                source.read(bytes, at)?;
                visit(at..end, Stretch::Data(bytes))?;
            }
            at = end;
        }
    }
    Ok(())
}

/// What is at `at`, and where that ends: in whole granules, or with the disk. A granule that is
/// zeroes in part is data.
fn next_run(source: &mut dyn Source, at: u64, granule: u64) -> Result<(Extent, u64)> {
    let size = source.size();
    let (extent, len) = source.extent(at)?;
    let end = at.saturating_add(len.max(1)).min(size);
    let whole = if end == size { end } else { end / granule * granule };
    if extent == Extent::Zero && whole > at {
        return Ok((Extent::Zero, whole));
    }
    Ok((Extent::Data, end.checked_next_multiple_of(granule).unwrap_or(size).min(size)))
}

/// Goes on, or ends with [`Error::Interrupted`].
pub(crate) fn tell(watch: Watch<'_>, done: u64, all: u64) -> Result<()> {
    match watch(done, all) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Interrupted),
    }
}

#[cfg(test)]
mod faults;

#[cfg(test)]
mod tests {
    use super::*;

    /// Extents of a disk; all data is sevens.
    struct Fake(Vec<(Extent, u64)>);

    impl Source for Fake {
        fn size(&self) -> u64 {
            self.0.iter().map(|part| part.1).sum()
        }

        fn extent(&mut self, at: u64) -> Result<(Extent, u64)> {
            let mut end = 0;
            for (extent, len) in &self.0 {
                end += len;
                if at < end {
                    return Ok((*extent, end - at));
                }
            }
            panic!("{at} is not on the disk");
        }

        fn read(&mut self, buf: &mut [u8], _: u64) -> Result<()> {
            buf.fill(7);
            Ok(())
        }
    }

    fn stretches(parts: &[(Extent, u64)], granule: u64) -> Vec<(Range<u64>, bool)> {
        let mut seen = Vec::new();
        for_each_stretch(&mut Fake(parts.to_vec()), granule, &mut |range, stretch| {
            seen.push((range, matches!(stretch, Stretch::Data(_))));
            Ok(())
        })
        .unwrap();
        seen
    }

    #[test]
    fn stretches_have_no_gaps_and_are_short_enough() {
        let found = stretches(&[(Extent::Zero, 5), (Extent::Data, CHUNK + 3)], 1);
        assert_eq!(found, [(0..5, false), (5..CHUNK + 5, true), (CHUNK + 5..CHUNK + 8, true)]);
        assert_eq!(stretches(&[], 1), []);
    }

    #[test]
    fn a_granule_with_data_in_it_is_data() {
        let parts = [(Extent::Zero, 150), (Extent::Data, 10), (Extent::Zero, 290)];
        assert_eq!(stretches(&parts, 100), [(0..100, false), (100..200, true), (200..450, false)]);
    }
}
