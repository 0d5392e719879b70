//! `note`: what people wrote about an image or a VM.

use anyhow::{Context, Result};

use super::App;
use crate::args;
use crate::output::{self, Style};

/// Writes the note, or prints the one there is.
pub fn note(app: &App, args: args::Note) -> Result<()> {
    let args::Note { name, text } = args;
    let mut store = app.store()?;
    let reads = text.is_none();
    let about = match text {
        None => store.description(&name).with_context(|| format!("cannot read {name}'s note")),
        Some(text) => store
            .describe(&name, |about| about.notes = text)
            .with_context(|| format!("cannot write a note on {name}")),
    }?;
    match app.style {
        Style::Json => output::print_json(&about),
        Style::Names | Style::Table if reads && !about.notes.is_empty() => {
            output::print(&format!("{}\n", about.notes))
        }
        Style::Names | Style::Table => Ok(()),
    }
}
