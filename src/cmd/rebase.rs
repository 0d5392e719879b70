//! `rebase`: a VM on another image, with the disk it had.

use anyhow::{Context, Result};

use super::App;
use super::reshape::reshape;
use crate::args;
use crate::monitor;
use crate::output::progress;

/// Verifies the image, and puts the VM on it.
pub fn rebase(app: &App, args: &args::Rebase) -> Result<()> {
    let args::Rebase { name, onto } = args;
    let rebase = || {
        verify(app, args)?;
        reshape(app, name, format!("rebasing {name}"), |store, vm, watch| {
            store.rebase(vm, &monitor::writer(vm)?, onto, watch)
        })
    };
    rebase().with_context(|| format!("cannot rebase {name} onto {onto}"))
}

/// What is different is told by comparing with the image, so that must be what it was.
fn verify(app: &App, args: &args::Rebase) -> Result<()> {
    let store = app.store()?;
    store.vm(&args.name)?;
    let bar = progress::bytes(format!("verifying {}", args.onto), app.quiet);
    let verified = store.verify_image(&args.onto, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    verified.map(drop)
}
