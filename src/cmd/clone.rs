//! `clone`: VMs on top of an image, of a snapshot, or of another VM as it is.

use anyhow::{Context, Result};

use super::{App, clone_request, start};
use crate::args;
use crate::console::Signals;
use crate::monitor;
use crate::output::progress;
use crate::output::{self, Style};
use crate::store::Store;
use crate::store::clone::{CloneRequest, Clones, Names};

/// Makes the clones, prints their names, and starts them when asked.
pub fn clone(app: &App, args: args::Clone) -> Result<()> {
    let names = match args.name {
        Some(pattern) => Names::Given(pattern.expand(args.count)?),
        None => Names::Next(args.count.unwrap_or(1)),
    };
    let cannot = format!("cannot clone {}", args.source);
    let request = clone_request(args.source, names, args.machine).context(cannot.clone())?;
    let request = CloneRequest { keep_identity: args.keep_identity, ..request };
    let mut store = app.store()?;
    let clones = match args.full {
        false => store.clone(&request, monitor::writer),
        true => copy(app, &mut store, &request),
    };
    let clones = clones.context(cannot)?;
    if let Some(remark) = clones.remark(&request.source).filter(|_| !app.quiet) {
        output::tell(&format!("offshoot: {remark}\n"));
    }
    let vms = clones.vms;
    if app.style == Style::Json {
        let records: Vec<_> = vms.iter().map(|vm| &vm.record).collect();
        output::print_json(&records)?;
    } else {
        let names: String = vms.iter().map(|vm| format!("{}\n", vm.record.name)).collect();
        output::print(&names)?;
    }
    if args.start {
        let names: Vec<_> = vms.into_iter().map(|vm| vm.record.name).collect();
        start::start_all(app, &store, &names, None)?;
    }
    Ok(())
}

/// Makes full clones, and shows how far it is. Broken off by a signal it leaves nothing behind.
fn copy(app: &App, store: &mut Store, request: &CloneRequest) -> Result<Clones> {
    let signals = Signals::catch()?;
    let bar = progress::bytes(format!("copying {}", request.source), app.quiet);
    let watch = &mut progress::watch(&bar, &signals);
    let clones = store.clone_fully(request, monitor::writer, watch);
    bar.finish_and_clear();
    clones
}
