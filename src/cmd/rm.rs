//! `rm`: a VM and everything it owns, gone; with `--cascade`, all that stands on it, too.

mod cascade;

use anyhow::{Context, Result};

use super::{App, each};
use crate::args;
use crate::failure::Failure;
use crate::monitor::{self, State};
use crate::store::inventory::Place;
use crate::store::{Away, Name, Store};

/// Removes VMs; those that run only when forced to.
pub fn rm(app: &App, args: &args::Rm) -> Result<()> {
    if args.cascade {
        return cascade::rm(app, args);
    }
    let mut store = app.store()?;
    each(&args.names, |name| {
        remove(&mut store, name, args).with_context(|| format!("cannot remove {name}"))
    })
}

fn remove(store: &mut Store, name: &Name, args: &args::Rm) -> Result<()> {
    if let Ok(Place::Image(_)) = store.inventory.find(name) {
        let hint = format!(
            "offshoot image rm {name}; with all that stands on it: offshoot rm --cascade {name}"
        );
        return Err(Failure::not_found("it is an image, not a VM").hint(hint).into());
    }
    let dir = store.vm_dir(name)?;
    store.refuse_protected(name)?;
    let state = State::of(&dir)?;
    if state.is_live() && !args.force {
        return Err(Failure::in_use(format!("it is {}", state.word()))
            .hint(format!("offshoot stop {name}, or offshoot rm -f {name}"))
            .into());
    }
    if state.is_live() {
        monitor::kill(&dir)?;
    }
    store.remove_vm(name, Away::of(args.forget))
}
