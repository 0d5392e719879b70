//! An inventory that is missing or damaged: a new one, from the files alone.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use uuid::Uuid;

use super::super::draft::Busy;
use super::super::inventory::Inventory;
use super::super::layer::Alone;
use super::super::paths::{Paths, sync_dir};
use super::{Remark, aside, entries};
use crate::failure::{self, Code, Failure};
use crate::store::Store;

/// How long those who are at work are waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at whether they are.
const GLANCE: Duration = Duration::from_millis(20);

/// Opens the store at `root` to be repaired: an inventory that is missing or damaged is made anew,
/// and the old one kept beside it. Says what was done.
///
/// # Errors
/// The store cannot be opened for another reason, somebody works in it and does not end, or the
/// new inventory cannot be written.
pub fn reopen(root: &Path) -> Result<(Store, Vec<Remark>)> {
    let damage = match Store::open(root) {
        Ok(store) => match store.inventory.check() {
            Ok(None) => return Ok((store, Vec::new())),
            Ok(Some(damage)) => damage,
            Err(error) => failure::text(&error),
        },
        Err(error) if failure::code(&error) == Code::Integrity => failure::text(&error),
        Err(error) => return Err(error),
    };
    let paths = Paths::new(root)?;
    paths.create()?;
    let mut done = rebuild(&paths).context("cannot make the inventory anew")?;
    log::debug!("the inventory was made anew: {damage}");
    let store = Store::open(root)?;
    done.insert(0, Remark { check: "inventory", text: "made anew from the files".into() });
    Ok((store, done))
}

/// Writes the new inventory whole before it takes the old one's place.
fn rebuild(paths: &Paths) -> Result<Vec<Remark>> {
    let alone = Alone::enter(paths)?;
    let _busy = nobody_works(paths)?;
    let mut done = keep_removed(paths)?;
    let path = paths.tmp().join(format!("inventory-{}", Uuid::new_v4().simple()));
    Inventory::create(&path, &beside(&path, ".draft"))?;
    let store = Store { paths: paths.clone(), inventory: Inventory::open(&path)? };
    done.extend(store.mend(&alone)?);
    store.inventory.seal()?;
    done.extend(keep_old(paths)?);
    fs::rename(&path, paths.inventory()).context("cannot put the new inventory in its place")?;
    sync_dir(paths.root())?;
    Ok(done)
}

fn nobody_works(paths: &Paths) -> Result<Busy> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(busy) = Busy::alone(paths)? {
            return Ok(busy);
        }
        if Instant::now() > deadline {
            let what = "other commands are at work in the store";
            return Err(Failure::in_use(what).hint("wait for their end, then again").into());
        }
        std::thread::sleep(GLANCE);
    }
}

/// Removals under way: without the old inventory nobody can tell whether they were decided.
fn keep_removed(paths: &Paths) -> Result<Vec<Remark>> {
    let mut done = Vec::new();
    for name in entries(&paths.tmp())?.iter().filter(|name| name.starts_with("removed-")) {
        let to = aside::set_aside(paths, &paths.tmp().join(name))?;
        let text = format!("something was about to be removed; it is {} now", to.display());
        done.push(Remark { check: "leftover", text });
    }
    Ok(done)
}

/// Moves the old inventory out of the way, with its log.
fn keep_old(paths: &Paths) -> Result<Option<Remark>> {
    let old = paths.inventory();
    let kept = beside(&old, &format!(".damaged-{}", aside::stamp()));
    let mut found = false;
    for suffix in ["-wal", "-shm", ""] {
        match fs::rename(beside(&old, suffix), beside(&kept, suffix)) {
            Ok(()) => found = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).context("cannot move the damaged inventory out of the way");
            }
        }
    }
    let text = format!("the damaged one is {} now", kept.display());
    Ok(found.then_some(Remark { check: "inventory", text }))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
