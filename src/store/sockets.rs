//! Sockets that a killed monitor left behind; the VM's lock still says where they are.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::lock::{self, Holder, Seen};
use super::repair::entries;

/// What a socket's name ends with.
const SUFFIX: &str = ".sock";
/// The one a monitor always listens on.
const CONTROL: &str = "control.sock";

/// The directory of the sockets that whoever last ran the VM in `dir` left behind, if they did.
///
/// # Errors
/// The VM's lock cannot be read.
pub fn left(dir: &Path) -> Result<Option<PathBuf>> {
    match lock::look(dir)? {
        Seen { held: false, holder: Some(holder), .. } => Ok(there(dir, holder)),
        _ => Ok(None),
    }
}

/// Removes them; the caller has the VM's lock.
///
/// # Errors
/// The filesystem refuses.
pub fn clear(dir: &Path) -> Result<()> {
    let Some(sockets) = lock::last_holder(dir)?.and_then(|holder| there(dir, holder)) else {
        return Ok(());
    };
    for name in entries(&sockets)?.iter().filter(|name| name.ends_with(SUFFIX)) {
        gone(fs::remove_file(sockets.join(name)), &sockets)?;
    }
    gone(fs::remove_dir(&sockets), &sockets)
}

/// Whether a monitor listens in this directory. Of a VM that nobody runs it is the monitor of its
/// like in a copy of the store, which has VMs of the same ids.
pub fn are_live(sockets: &Path) -> bool {
    UnixStream::connect(sockets.join(CONTROL)).is_ok()
}

/// A damaged lock may name any directory; the VM's own is called as the VM's is.
fn there(dir: &Path, Holder { sockets, .. }: Holder) -> Option<PathBuf> {
    let own = sockets.is_absolute() && sockets.file_name() == dir.file_name();
    (own && sockets.is_dir() && !are_live(&sockets)).then_some(sockets)
}

fn gone(removed: io::Result<()>, dir: &Path) -> Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
