//! `restart`: VMs stopped, and started again.

use anyhow::{Context, Result};

use super::{App, each, start, stop};
use crate::args;
use crate::monitor::State;
use crate::store::Vm;

/// Restarts VMs, one after the other; those that do not run are started.
pub fn restart(app: &App, args: &args::Restart) -> Result<()> {
    let store = app.store()?;
    each(&args.names, |name| {
        let stopped = store.vm(name).and_then(|vm| stop_running(&vm, args));
        stopped.with_context(|| format!("cannot restart {name}"))?;
        start::start_all(app, &store, std::slice::from_ref(name), args.cmdline.as_deref())
    })
}

/// Stops a VM that runs. One that ends meanwhile is stopped as well.
fn stop_running(vm: &Vm, args: &args::Restart) -> Result<()> {
    if !State::of(&vm.dir)?.is_live() {
        return Ok(());
    }
    let stopped = stop::end(&vm.dir, args.ending);
    if State::of(&vm.dir)?.is_live() { stopped } else { Ok(()) }
}
