//! `compact`: the space of zeroes, given back to the host.

use anyhow::{Context, Result};
use serde::Serialize;

use super::reshape::reshape;
use super::{App, ls};
use crate::monitor;
use crate::output::{self, Style, human};
use crate::store::Name;

/// The keys are stable.
#[derive(Serialize)]
struct View<'a> {
    name: &'a Name,
    /// Bytes its delta took on the disk before, and takes now.
    before: u64,
    after: u64,
}

/// Gives space back, and says how much.
pub fn compact(app: &App, name: &Name) -> Result<()> {
    let compacted = reshape(app, name, format!("compacting {name}"), |store, vm, watch| {
        let before = ls::bytes_on_disk(&vm.delta());
        store.compact(vm, &monitor::writer(vm)?, watch)?;
        Ok(View { name, before, after: ls::bytes_on_disk(&vm.delta()) })
    });
    let view = compacted.with_context(|| format!("cannot compact {name}"))?;
    match app.style {
        Style::Json => output::print_json(&view),
        Style::Names => output::print(&format!("{name}\n")),
        Style::Table => {
            let saved = human::bytes(view.before.saturating_sub(view.after));
            output::print(&format!("{name}: {saved} given back\n"))
        }
    }
}
