//! `version`.

use anyhow::Result;
use serde_json::json;

use super::App;
use crate::output::{self, Style};

/// Prints the version.
pub fn version(app: &App) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    match app.style {
        Style::Json => output::print_json(&json!({ "version": version })),
        Style::Names => output::print(&format!("{version}\n")),
        Style::Table => output::print(&format!("offshoot {version}\n")),
    }
}
