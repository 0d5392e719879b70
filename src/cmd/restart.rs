//! `restart`: VMs stopped, and started again.

use anyhow::{Context, Result};

use super::{App, each, start};
use crate::args;
use crate::monitor::{self, State};
use crate::store::Vm;

/// Restarts VMs, one after the other; those that do not run are started.
pub fn restart(app: &App, args: &args::Restart) -> Result<()> {
    let store = app.store()?;
    each(&args.names, |name| {
        let stopped = store.vm(name).and_then(|vm| stop(&vm, args));
        stopped.with_context(|| format!("cannot restart {name}"))?;
        start::start_all(app, &store, std::slice::from_ref(name), args.cmdline.as_deref())
    })
}

/// Stops a VM that runs. One that ends meanwhile is stopped as well.
fn stop(vm: &Vm, args: &args::Restart) -> Result<()> {
    if !State::of(&vm.dir)?.is_live() {
        return Ok(());
    }
    let stopped = match args.force {
        true => monitor::kill(&vm.dir),
        false => monitor::shut_down(&vm.dir, args.timeout),
    };
    if State::of(&vm.dir)?.is_live() { stopped } else { Ok(()) }
}
