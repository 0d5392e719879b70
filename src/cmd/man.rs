//! `man`: the manual.

use std::fs;

use anyhow::{Context, Result};

use crate::args::{self, reference};
use crate::output;

/// Writes the manual pages, or prints the reference.
pub fn man(args: &args::Man) -> Result<()> {
    let Some(dir) = &args.dir else { return output::print(&reference::markdown()) };
    let write = || {
        fs::create_dir_all(dir)?;
        reference::write_man_pages(dir)
    };
    write().with_context(|| format!("cannot write manual pages to {}", dir.display()))?;
    Ok(())
}
