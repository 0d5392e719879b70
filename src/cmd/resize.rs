//! `resize`: a VM's disk, longer or shorter.

use anyhow::{Context, Result};

use super::App;
use crate::args;
use crate::monitor;

/// Gives a VM's disk another length.
pub fn resize(app: &App, args: &args::Resize) -> Result<()> {
    let args::Resize { name, size, force } = args;
    let resize = || {
        let mut store = app.store()?;
        let vm = store.vm(name)?;
        store.resize(&vm, &monitor::writer(&vm)?, *size, *force)
    };
    resize().with_context(|| format!("cannot resize {name}"))
}
