//! Drafts of small files beside their place, left by a command killed before the rename.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Remark;
use super::files::entries;
use crate::store::Store;
use crate::store::lock::{self, Lock};

/// What [`paths::replace`](crate::store::paths::replace) calls the new file until it is one.
const DRAFT: &str = ".new";

/// The drafts there are where nobody is at work, as for [`clear`].
pub(super) fn look(store: &Store) -> Result<Vec<Remark>> {
    let remark = |path: PathBuf| Remark {
        check: "leftover",
        text: format!("{} was never finished", path.display()),
    };
    let mut found = Vec::new();
    for dir in directories(store)? {
        if lock::look(&dir)?.held {
            continue;
        }
        found.extend(drafts(&dir)?.into_iter().map(remark));
    }
    Ok(found)
}

/// Removes them where nobody is at work. The caller holds what keeps records from being written;
/// what a VM's monitor writes, its lock keeps.
pub(super) fn clear(store: &Store) -> Result<Vec<Remark>> {
    let mut done = Vec::new();
    for dir in directories(store)? {
        let drafts = drafts(&dir)?;
        if drafts.is_empty() {
            continue;
        }
        let is_vm = dir.starts_with(store.paths.vms());
        let _lock = match is_vm.then(|| Lock::take(&dir)).transpose() {
            Ok(lock) => lock,
            Err(_) => continue,
        };
        for path in drafts {
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                removed => removed.with_context(|| format!("cannot remove {}", path.display()))?,
            }
            let text = format!("{} is gone: it was never finished", path.display());
            done.push(Remark { check: "leftover", text });
        }
    }
    Ok(done)
}

fn directories(store: &Store) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for dir in [store.paths.images(), store.paths.vms(), store.paths.layers()] {
        all.extend(entries(&dir)?.into_iter().map(|name| dir.join(name)));
    }
    // Others are reported by whoever compares the files with the inventory.
    all.retain(|dir| dir.is_dir());
    Ok(all)
}

fn drafts(dir: &Path) -> Result<Vec<PathBuf>> {
    let names = entries(dir)?.into_iter().filter(|name| name.ends_with(DRAFT));
    Ok(names.map(|name| dir.join(name)).collect())
}
