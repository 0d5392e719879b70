//! `label`: `key=value` pairs of an image or a VM.

use anyhow::{Context, Result};

use super::App;
use crate::args::{self, LabelChange};
use crate::output::{self, Style};

/// Changes the labels, or lists them where nothing is to change.
pub fn label(app: &App, args: args::Label) -> Result<()> {
    let args::Label { name, changes } = args;
    let mut store = app.store()?;
    let lists = changes.is_empty();
    let about = match lists {
        true => store.description(&name).with_context(|| format!("cannot list {name}'s labels")),
        false => store
            .describe(&name, |about| {
                for change in changes {
                    match change {
                        LabelChange::Set(key, value) => about.labels.insert(key, value),
                        LabelChange::Remove(key) => about.labels.remove(&key),
                    };
                }
            })
            .with_context(|| format!("cannot label {name}")),
    }?;
    match app.style {
        Style::Json => output::print_json(&about),
        Style::Names | Style::Table if lists => {
            let labels = about.labels.iter().map(|(key, value)| format!("{key}={value}\n"));
            output::print(&labels.collect::<String>())
        }
        Style::Names | Style::Table => Ok(()),
    }
}
