//! `reset`: VMs as they were after their last snapshot, or when they were cloned.

use anyhow::{Context, Result};

use super::{App, each};
use crate::args;
use crate::monitor::{self, State};

/// Takes VMs back, each to what it stands on.
pub fn reset(app: &App, args: &args::Reset) -> Result<()> {
    let mut store = app.store()?;
    each(&args.names, |name| {
        let mut reset = || {
            let vm = store.vm(name)?;
            store.refuse_protected(name)?;
            if args.force && State::of(&vm.dir)?.is_live() {
                monitor::kill(&vm.dir)?;
            }
            store.reset(&vm, &monitor::stopped(&vm)?)
        };
        reset().with_context(|| format!("cannot reset {name}"))
    })
}
