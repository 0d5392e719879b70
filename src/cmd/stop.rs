//! `stop`: the power button first, force where that does not help.

use std::path::Path;

use anyhow::{Context, Result};

use super::{App, distinct, sift};
use crate::args::{self, Ending};
use crate::failure;
use crate::monitor;
use crate::parallel;
use crate::store::Name;

/// Stops VMs, several at a time.
pub fn stop(app: &App, args: &args::Stop) -> Result<()> {
    let store = app.store()?;
    let cannot = |name: &Name| format!("cannot stop {name}");
    let vms = distinct(&args.names).map(|name| store.vm(name).with_context(|| cannot(name)));
    let (vms, mut errors) = sift(vms);
    let ended = parallel::each(&vms, |vm| {
        end(&vm.dir, args.ending).with_context(|| cannot(&vm.record.name))
    });
    errors.extend(sift(ended).1);
    failure::all(errors)
}

/// Ends a VM that runs.
///
/// # Errors
/// It does not run, or does not end.
pub fn end(dir: &Path, how: Ending) -> Result<()> {
    match how.force {
        true => monitor::kill(dir),
        false => monitor::shut_down(dir, how.timeout),
    }
}
