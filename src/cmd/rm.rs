//! `rm`: a VM and everything it owns, gone; with `--cascade`, all that stands on it, too.

mod cascade;

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{App, distinct, failed, sift};
use crate::args;
use crate::failure::{self, Failure};
use crate::monitor::{self, State};
use crate::parallel;
use crate::store::inventory::Place;
use crate::store::{Away, Name, Store};

/// Removes VMs, in one step for all; those that run only when forced to.
pub fn rm(app: &App, args: &args::Rm) -> Result<()> {
    if args.cascade {
        return cascade::rm(app, args);
    }
    let mut store = app.store()?;
    let cannot = |name: &Name| format!("cannot remove {name}");
    let found = distinct(&args.names)
        .map(|name| find(&store, name, args.force).with_context(|| cannot(name)));
    let (found, mut errors) = sift(found);
    let ended = parallel::each(&found, |vm| vm.live.as_deref().map_or(Ok(()), monitor::make_sure));
    let ended = found.into_iter().zip(ended).map(|(Found { name, .. }, ended)| {
        ended.with_context(|| cannot(&name))?;
        Ok(name)
    });
    let (names, alive) = sift(ended);
    errors.extend(alive);
    let removed = store.remove_vms(&names, Away::of(args.forget));
    errors.extend(failed("cannot remove", &names.iter().collect::<Vec<_>>(), removed));
    failure::all(errors)
}

/// A VM that may go.
struct Found {
    name: Name,
    /// The directory of one that is to be stopped first.
    live: Option<PathBuf>,
}

fn find(store: &Store, name: &Name, force: bool) -> Result<Found> {
    if let Ok(Place::Image(_)) = store.inventory.find(name) {
        let hint = format!(
            "offshoot image rm {name}; with all that stands on it: offshoot rm --cascade {name}"
        );
        return Err(Failure::not_found("it is an image, not a VM").hint(hint).into());
    }
    let dir = store.vm_dir(name)?;
    store.refuse_protected(name)?;
    let state = State::of(&dir)?;
    if state.is_live() && !force {
        let by = state.pid().map_or(String::new(), |pid| format!(" (process {pid})"));
        return Err(Failure::in_use(format!("it is {}{by}", state.word()))
            .hint(format!("offshoot stop {name}, or offshoot rm -f {name}"))
            .into());
    }
    Ok(Found { name: name.clone(), live: state.is_live().then_some(dir) })
}
