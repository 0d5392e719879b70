//! What killed commands left in `tmp/`.
//!
//! A thing there was never finished, and nobody was told that it was; or it was on its way out. If
//! the inventory still has the latter, its removal was never decided, and it goes back to its place.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Remark;
use super::files::entries;
use crate::store::draft::Busy;
use crate::store::home::{self, Home};
use crate::store::paths::{load, sync_dir};
use crate::store::{Store, image, layer, vm};

/// What becomes of something in `tmp/`.
enum Leftover {
    /// What is to go is in this directory, which is not there: it stays until it is.
    Waits(PathBuf),
    /// It is moved back here.
    Misses(PathBuf),
    /// It goes.
    Debris,
}

/// What is left over; nothing while somebody works there.
pub(super) fn look(store: &Store) -> Result<Vec<Remark>> {
    if !Busy::nobody(&store.paths)? {
        return Ok(Vec::new());
    }
    let remark = |name: String| {
        let path = store.paths.tmp().join(name);
        let text = match leftover(store, &path) {
            Leftover::Misses(place) => {
                format!("{} was to be removed, and was not: it is in tmp/", place.display())
            }
            Leftover::Debris => format!("{} was never finished", path.display()),
            Leftover::Waits(dir) => waits(&path, &dir),
        };
        Remark { check: "leftover", text }
    };
    Ok(entries(&store.paths.tmp())?.into_iter().map(remark).collect())
}

/// Clears `tmp/`, unless somebody works there, and says what was done.
pub(super) fn clear(store: &Store) -> Result<Vec<Remark>> {
    let Some(_alone) = Busy::alone(&store.paths)? else {
        log::warn!("somebody works in tmp/: what is left over there stays for the next time");
        return Ok(Vec::new());
    };
    let mut done = Vec::new();
    for name in entries(&store.paths.tmp())? {
        let path = store.paths.tmp().join(name);
        let text = match leftover(store, &path) {
            Leftover::Misses(place) => {
                put_back(&path, &place)?;
                format!("{} is back: its removal was broken off", place.display())
            }
            Leftover::Debris => {
                remove(&path)?;
                format!("{} is gone: it was never finished", path.display())
            }
            Leftover::Waits(dir) => {
                log::warn!("{}", waits(&path, &dir));
                continue;
            }
        };
        done.push(Remark { check: "leftover", text });
    }
    Ok(done)
}

/// What becomes of it. Its record says what it is, and the inventory whether that is missed.
fn leftover(store: &Store, path: &Path) -> Leftover {
    let places = [of_vm(store, path), of_layer(store, path), of_image(store, path)];
    match places.into_iter().flatten().find(|place| !place.exists()) {
        Some(place) => Leftover::Misses(place),
        None => match Home::of(&home::entry(path)) {
            Home::Elsewhere(dir) if !dir.exists() => Leftover::Waits(dir),
            _ => Leftover::Debris,
        },
    }
}

fn waits(path: &Path, dir: &Path) -> String {
    format!("{} is to go with its delta in {}, which is not there", path.display(), dir.display())
}

fn of_vm(store: &Store, path: &Path) -> Option<PathBuf> {
    let record: vm::Record = load(&path.join(vm::RECORD)).ok()?;
    store.inventory.top(&record.id()).ok()?;
    Some(store.paths.vm(&record.id()))
}

fn of_layer(store: &Store, path: &Path) -> Option<PathBuf> {
    let record: layer::Record = load(&path.join(layer::RECORD)).ok()?;
    let rows = store.inventory.layers().ok()?;
    let known = rows.iter().any(|row| row.uuid == record.uuid);
    known.then(|| store.paths.layer(record.uuid))
}

fn of_image(store: &Store, path: &Path) -> Option<PathBuf> {
    let record: image::Record = load(&path.join(image::RECORD)).ok()?;
    store.inventory.base(&record.digest).ok()?;
    Some(store.paths.image(&record.digest))
}

fn put_back(path: &Path, place: &Path) -> Result<()> {
    fs::rename(path, place).with_context(|| format!("cannot move {} back", path.display()))?;
    place.parent().map_or(Ok(()), sync_dir)
}

fn remove(path: &Path) -> Result<()> {
    home::remove(path).with_context(|| format!("cannot remove {}", path.display()))
}
