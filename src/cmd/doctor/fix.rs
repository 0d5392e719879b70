//! `doctor --fix`: puts in order what can be, and says what it did.

use std::path::Path;

use anyhow::{Context, Result};

use super::Finding;
use crate::monitor;
use crate::store::lock::Lock;
use crate::store::repair::{self, Remark};
use crate::store::{Store, sockets};

/// Repairs the store at `root`, and returns what was done.
///
/// # Errors
/// It cannot be opened, read or written.
pub fn fix(root: &Path) -> Result<Vec<Finding>> {
    let (mut store, mut done) = repair::reopen(root)?;
    let repaired = store.repair(monitor::writer);
    done.extend(repaired.context("cannot repair the store")?);
    done.extend(clear_sockets(&store)?);
    Ok(done.into_iter().map(|remark| Finding::fixed(remark.check, remark.text)).collect())
}

/// Removes what killed monitors left.
fn clear_sockets(store: &Store) -> Result<Vec<Remark>> {
    let mut done = Vec::new();
    for row in store.inventory.vms()? {
        let dir = store.paths.vm(&row.id);
        // Whoever has it by now uses them, or takes them away.
        let Some(sockets) = sockets::left(&dir)? else { continue };
        let Ok(_lock) = Lock::take(&dir) else { continue };
        sockets::clear(&dir)?;
        let text = format!("{}: its monitor was killed; {} is gone", row.name, sockets.display());
        done.push(Remark { check: "vm", text });
    }
    Ok(done)
}
