//! `doctor --fix`: puts in order what can be, and says what it did.

use std::path::Path;

use anyhow::{Context, Result};

use super::Finding;
use crate::monitor;
use crate::store::Store;
use crate::store::repair::{self, Remark};

/// Repairs the store at `root`, and returns what was done.
///
/// # Errors
/// It cannot be opened, read or written.
pub fn fix(root: &Path) -> Result<Vec<Finding>> {
    let (mut store, mut done) = repair::reopen(root)?;
    let repaired = store.repair(monitor::writer);
    done.extend(repaired.context("cannot repair the store")?);
    done.extend(sockets(&store)?);
    Ok(done.into_iter().map(|remark| Finding::fixed(remark.check, remark.text)).collect())
}

/// Removes what killed monitors left.
fn sockets(store: &Store) -> Result<Vec<Remark>> {
    let mut done = Vec::new();
    for row in store.inventory.vms()? {
        if let Some(sockets) = monitor::clear_sockets(&store.paths.vm(&row.id))? {
            let sockets = sockets.display();
            let text = format!("{}: its monitor was killed; {sockets} is gone", row.name);
            done.push(Remark { check: "vm", text });
        }
    }
    Ok(done)
}
