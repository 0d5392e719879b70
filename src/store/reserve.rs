//! A little room kept for removing things. On a full filesystem the inventory's log could not grow
//! without it, and nothing could be removed to make room.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::paths::Paths;

/// Bytes: more than the log grows by when a few hundred VMs are removed.
const ROOM: u64 = 512 << 10;

/// What a removal may use. Dropped, it is kept again if there is room by then.
pub(super) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// Keeps it for later.
    pub fn keep(paths: &Paths) {
        drop(Reserve { path: paths.reserve() });
    }

    /// Gives it up where nothing else is left. Whoever else writes may be faster; then the removal
    /// says that there is no room, as it would have anyway.
    pub fn give_up(paths: &Paths) -> Reserve {
        let path = paths.reserve();
        let left = statvfs(paths.root()).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        if left.is_ok_and(|left| left < ROOM) {
            // It may not be there: an older program made the store.
            let _ = fs::remove_file(&path);
        }
        Reserve { path }
    }

    fn fill(&self) -> io::Result<()> {
        let file = File::create_new(&self.path)?;
        Ok(fallocate(&file, FallocateFlags::empty(), 0, ROOM)?)
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        if let Err(error) = self.fill()
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            log::debug!("nothing is kept for removing things: {error}");
            let _ = fs::remove_file(&self.path);
        }
    }
}
