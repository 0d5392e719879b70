//! `reset`: VMs as they were after their last snapshot, or when they were cloned.

use anyhow::{Context, Result};

use super::{App, distinct, failed, sift};
use crate::args;
use crate::failure;
use crate::monitor;
use crate::parallel;
use crate::store::{Name, Store, Vm};

/// Takes VMs back, each to what it stands on; all of them wait for the disk together.
pub fn reset(app: &App, args: &args::Reset) -> Result<()> {
    let mut store = app.store()?;
    let cannot = |name: &Name| format!("cannot reset {name}");
    let vms = distinct(&args.names).map(|name| find(&store, name).with_context(|| cannot(name)));
    let (vms, mut errors) = sift(vms);
    let ended = parallel::each(&vms, |vm| match args.force {
        true => monitor::make_sure(&vm.dir),
        false => Ok(()),
    });
    let stopped = vms.into_iter().zip(ended).map(|(vm, ended)| {
        let writer = ended.and_then(|()| monitor::stopped(&vm));
        let writer = writer.with_context(|| cannot(&vm.record.name))?;
        Ok((vm, writer))
    });
    let (stopped, alive) = sift(stopped);
    errors.extend(alive);
    let pairs: Vec<_> = stopped.iter().map(|(vm, writer)| (vm, writer)).collect();
    let names: Vec<_> = pairs.iter().map(|(vm, _)| &vm.record.name).collect();
    errors.extend(failed("cannot reset", &names, store.reset_all(&pairs)));
    failure::all(errors)
}

/// A VM that may be reset, were it stopped.
fn find(store: &Store, name: &Name) -> Result<Vm> {
    let vm = store.vm(name)?;
    store.refuse_protected(name)?;
    Ok(vm)
}
