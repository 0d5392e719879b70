//! `stop`: the power button first, force where that does not help.

use anyhow::{Context, Result};

use super::{App, each};
use crate::args;
use crate::monitor;

/// Stops VMs, one after the other.
pub fn stop(app: &App, args: &args::Stop) -> Result<()> {
    let store = app.store()?;
    each(&args.names, |name| {
        let stop = || {
            let vm = store.vm(name)?;
            match args.force {
                true => monitor::kill(&vm.dir),
                false => monitor::shut_down(&vm.dir, args.timeout),
            }
        };
        stop().with_context(|| format!("cannot stop {name}"))
    })
}
