//! `rename`: another name for an image or a VM.

use anyhow::{Context, Result};

use super::App;
use crate::args;
use crate::output::{self, Style};

/// Gives it the name; its snapshots go with it.
pub fn rename(app: &App, args: args::Rename) -> Result<()> {
    let args::Rename { old, new } = args;
    let cannot = format!("cannot rename {old} to {new}");
    let about = app.store()?.describe(&old, |about| about.name = new).context(cannot)?;
    match app.style {
        Style::Json => output::print_json(&about),
        Style::Names | Style::Table => Ok(()),
    }
}
