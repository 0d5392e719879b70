//! `flatten`: a VM that needs nothing below its own delta.

use anyhow::{Context, Result};

use super::App;
use super::reshape::reshape;
use crate::monitor;
use crate::store::Name;

/// Copies what a VM needs from below into its delta.
pub fn flatten(app: &App, name: &Name) -> Result<()> {
    let flattened = reshape(app, name, format!("flattening {name}"), |store, vm, watch| {
        store.flatten(vm, &monitor::writer(vm)?, watch)
    });
    flattened.with_context(|| format!("cannot flatten {name}"))
}
