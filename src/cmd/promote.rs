//! `promote`: a linked clone made a full one.

use anyhow::{Context, Result};

use super::App;
use super::reshape::reshape;
use crate::monitor;
use crate::store::Name;

/// Copies what a VM needs from below, and the kernel it boots.
pub fn promote(app: &App, name: &Name) -> Result<()> {
    let promoted = reshape(app, name, format!("promoting {name}"), |store, vm, watch| {
        store.promote(vm, &monitor::writer(vm)?, watch)
    });
    promoted.with_context(|| format!("cannot promote {name}"))
}
