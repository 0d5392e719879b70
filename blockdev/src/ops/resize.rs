//! Giving a disk another length.

use std::path::Path;

use crate::delta::{BLOCK, Delta};
use crate::{Error, Result, Stack};

impl Stack {
    /// Makes the disk `size` bytes long, at least as long as it is. What is new reads as zeroes.
    /// Disks on it have the new length as soon as they are polled.
    ///
    /// # Errors
    /// It would be shorter, or more than 16 times and a gibibyte as long, another operation is under
    /// way, the disk is read-only, or the filesystem fails. It then has its old length.
    pub fn grow(&self, size: u64) -> Result<()> {
        let _alone = self.change()?;
        let layers = self.current.get();
        let delta = layers.delta()?;
        if size < delta.size() {
            return Err(Error::Size { size, why: "a disk in use can only grow" });
        }
        if size.div_ceil(BLOCK) > delta.header().most_blocks() {
            let why = "a disk in use cannot grow that much: stop whoever uses it";
            return Err(Error::Size { size, why });
        }
        delta.resize(size)?;
        self.current.publish(layers.resized());
        Ok(())
    }
}

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
