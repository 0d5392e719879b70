//! `protect`: images and VMs that must stay as they are.

use anyhow::{Context, Result};

use super::{App, each};
use crate::args;

/// Protects each, or does so no longer.
pub fn protect(app: &App, args: &args::Protect) -> Result<()> {
    let mut store = app.store()?;
    each(&args.names, |name| {
        let protected = store.protect(name, !args.off);
        protected.with_context(|| match args.off {
            false => format!("cannot protect {name}"),
            true => format!("cannot take the protection of {name} away"),
        })
    })
}
