//! Giving a disk another length.

use std::path::Path;

use crate::delta::Delta;
use crate::{Error, Result};

/// Makes the disk of the live delta at `path`, which nobody has open, `size` bytes long. What is
/// new reads as zeroes, also what a longer disk once held there.
///
/// # Errors
/// The delta is in use or damaged, the size cannot be, or is less than now and not `shrink`; or
/// the filesystem fails. The disk then has its old length, or its new one.
pub fn resize(path: &Path, size: u64, shrink: bool) -> Result<()> {
    let delta = Delta::open(path)?;
    let old = delta.header().size;
    if size < old && !shrink {
        return Err(Error::Size { size, why: "it would lose what is behind that" });
    }
    delta.resize(size)
}
