//! `prune`: layers nobody needs, gone.

use anyhow::{Context, Result};
use serde::Serialize;
use uuid::Uuid;

use super::App;
use crate::args;
use crate::output::{self, Style, human};
use crate::store::inventory::LayerRow;
use crate::store::lineage::label;
use crate::store::{Away, Store};

/// The keys are stable.
#[derive(Serialize)]
struct View {
    layer: Uuid,
    label: String,
    own_bytes: u64,
}

/// Removes the layers, or says which they are.
pub fn prune(app: &App, args: &args::Prune) -> Result<()> {
    let mut store = app.store()?;
    // While they are there: how much they take cannot be told afterwards.
    let away = Away::of(args.forget);
    let rows = store.prunable(away)?;
    let mut views: Vec<View> = rows.iter().map(|row| View::of(&store, row)).collect();
    if !args.dry_run {
        let removed = store.prune(away).context("cannot remove all layers nobody needs")?;
        views.retain(|view| removed.contains(&view.layer));
    }
    match app.style {
        Style::Json => output::print_json(&views),
        Style::Names => output::print(&views.iter().map(View::name).collect::<String>()),
        Style::Table => {
            let lines = views.iter().map(View::describe).collect::<String>();
            output::print(&(lines + &total(&views, args.dry_run)))
        }
    }
}

/// What all of it comes to.
fn total(views: &[View], dry_run: bool) -> String {
    let bytes = human::bytes(views.iter().map(|view| view.own_bytes).sum());
    let layers = match views.len() {
        0 => return String::new(),
        1 => "1 layer".into(),
        count => format!("{count} layers"),
    };
    match dry_run {
        true => format!("{layers}, {bytes} could go\n"),
        false => format!("{layers}, {bytes} freed\n"),
    }
}

impl View {
    fn of(store: &Store, row: &LayerRow) -> View {
        let own_bytes = store.layer_bytes(row.uuid);
        View { layer: row.uuid, label: label(row), own_bytes }
    }

    fn name(&self) -> String {
        format!("{}\n", self.layer)
    }

    fn describe(&self) -> String {
        format!("{} ({}): {}\n", self.layer, self.label, human::bytes(self.own_bytes))
    }
}
