//! `lost/`: what nobody seems to need, out of the way, for its owner to look at.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::super::paths::{Paths, sync_dir};
use crate::store::Timestamp;

/// Moves something to `lost/`, under its own name and the time, and says where it is.
///
/// # Errors
/// The filesystem refuses; it is where it was then.
pub(super) fn set_aside(paths: &Paths, path: &Path) -> Result<PathBuf> {
    let lost = paths.lost();
    match DirBuilder::new().mode(0o700).create(&lost) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("cannot create {}", lost.display()));
        }
        _ => {}
    }
    let to = lost.join(format!("{}-{}", name_of(path), stamp()));
    fs::rename(path, &to).with_context(|| format!("cannot move {} aside", path.display()))?;
    sync_dir(&lost)?;
    Ok(to)
}

/// The time, as a part of a file's name.
pub(super) fn stamp() -> String {
    Timestamp::now().to_string().replace(':', "")
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
