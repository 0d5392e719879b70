//! Writes a whole disk into one file for other programs: raw or qcow2, as sparse as can be.
//!
//! The file is made under another name in the same directory, synced, and only then gets its own:
//! whoever sees it sees all of it.

mod draft;
mod qcow2;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::copy::{Source, Stretch, Watch, clone_file, for_each_stretch, tell, write_sparse};
use crate::delta::BLOCK;
use crate::io::Storage;
use crate::{Error, Result};
use draft::Draft;
use qcow2::Clusters;

/// What may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The disk's bytes, holes where there are zeroes.
    Raw,
    /// QEMU's, version 3, clusters of 64 KiB; no cluster where there are zeroes.
    Qcow2,
    /// The same, each cluster packed by zstd where that makes it smaller; QEMU 5.1 or later reads it.
    PackedQcow2,
}

/// What to do with a file that has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it and fail.
    Keep,
    /// Put the new one in its place, at the end.
    Replace,
}

/// Copies `source` to the new file `to`, synced. A raw file whose filesystem can share blocks is
/// shared, not copied.
///
/// # Errors
/// `source` cannot be read; `to` exists (or is no regular file, which is never replaced); no space;
/// `watch` broke it off. Nothing is left behind, but by a killed process: a file `.offshoot-*.part`.
pub fn export(
    source: &mut dyn Source,
    to: &Path,
    format: Format,
    existing: Existing,
    watch: Watch<'_>,
) -> Result<()> {
    let draft = Draft::create(to, existing)?;
    write(source, draft.storage(), draft.target(), format, watch)?;
    draft.publish()
}

/// Writes all of `source` to `target`, which is empty and called `path`.
pub(crate) fn write(
    source: &mut dyn Source,
    target: &dyn Storage,
    path: &Path,
    format: Format,
    watch: Watch<'_>,
) -> Result<()> {
    match format {
        Format::Raw => raw(source, target, path, watch),
        Format::Qcow2 => qcow2::write(source, target, path, Clusters::Plain, watch),
        Format::PackedQcow2 => qcow2::write(source, target, path, Clusters::Packed, watch),
    }
}

fn raw(source: &mut dyn Source, target: &dyn Storage, path: &Path, watch: Watch<'_>) -> Result<()> {
    let size = source.size();
    if target.fd().is_some_and(|file| clone_file(file, source)) {
        return tell(watch, size, size);
    }
    // From nothing: an attempt to clone that failed may have left something.
    target.set_len(0).and_then(|()| target.set_len(size)).map_err(Error::write(path, 0))?;
    for_each_stretch(source, BLOCK, &mut |range, stretch| {
        if let Stretch::Data(bytes) = stretch {
            write_sparse(target, bytes, range.start).map_err(Error::write(path, range.start))?;
        }
        tell(watch, range.end, size)
    })
}
