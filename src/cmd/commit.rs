//! `commit`: what a VM wrote, merged into the snapshot it stands on.

use anyhow::{Context, Result};

use super::App;
use super::reshape::reshape;
use crate::monitor;
use crate::store::Name;

/// Merges what a VM wrote down.
pub fn commit(app: &App, name: &Name) -> Result<()> {
    let committed = reshape(app, name, format!("committing {name}"), |store, vm, watch| {
        store.commit(vm, &monitor::writer(vm)?, watch)
    });
    committed.with_context(|| format!("cannot commit {name}"))
}
