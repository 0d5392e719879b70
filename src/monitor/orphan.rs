//! Sockets of monitors that were killed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::runtime::{CONSOLE, CONTROL};
use crate::store::lock::{self, Lock, Seen};

/// The directory of the sockets that the last monitor of the VM in `dir` left behind, if it did.
///
/// # Errors
/// The VM's lock cannot be read.
pub fn left_sockets(dir: &Path) -> Result<Option<PathBuf>> {
    let Seen { held: false, holder: Some(holder) } = lock::look(dir)? else { return Ok(None) };
    // A damaged lock may name any directory; the VM's own has the VM's name.
    let own = holder.sockets.is_absolute() && holder.sockets.file_name() == dir.file_name();
    Ok(Some(holder.sockets).filter(|sockets| own && sockets.exists()))
}

/// Removes them, unless somebody runs the VM by now, and says where they were.
///
/// # Errors
/// The filesystem refuses.
pub fn clear_sockets(dir: &Path) -> Result<Option<PathBuf>> {
    if left_sockets(dir)?.is_none() {
        return Ok(None);
    }
    let Ok(_lock) = Lock::take(dir) else { return Ok(None) };
    // It is looked at again: whoever had the lock until now may have ended, and tidily.
    let Some(holder) = lock::look(dir)?.holder else { return Ok(None) };
    for name in [CONTROL, CONSOLE] {
        gone(fs::remove_file(holder.sockets.join(name)), &holder.sockets)?;
    }
    gone(fs::remove_dir(&holder.sockets), &holder.sockets)?;
    Ok(Some(holder.sockets))
}

fn gone(removed: io::Result<()>, dir: &Path) -> Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
