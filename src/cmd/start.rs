//! `start`: a monitor for each VM.

use anyhow::Result;

use super::{App, distinct};
use crate::args;
use crate::failure;
use crate::monitor;
use crate::output::{self, progress};
use crate::parallel;
use crate::store::{Name, Store};

/// Starts VMs, and prints the names of those that run.
pub fn start(app: &App, args: &args::Start) -> Result<()> {
    let store = app.store()?;
    let names: Vec<Name> = distinct(&args.names).cloned().collect();
    let results = start_each(app, &store, &names, args.cmdline.as_deref());
    let started = names.iter().zip(&results).filter(|(_, result)| result.is_ok());
    output::print(&started.map(|(name, _)| format!("{name}\n")).collect::<String>())?;
    failure::all(results.into_iter().filter_map(Result::err).collect())
}

/// Starts VMs, several at a time, and waits until the vCPUs of all run.
pub fn start_all(app: &App, store: &Store, names: &[Name], cmdline: Option<&str>) -> Result<()> {
    let results = start_each(app, store, names, cmdline);
    failure::all(results.into_iter().filter_map(Result::err).collect())
}

/// What came of each, in their order.
fn start_each(app: &App, store: &Store, names: &[Name], cmdline: Option<&str>) -> Vec<Result<()>> {
    let bar = progress::count("starting".into(), names.len() as u64, app.quiet || names.len() < 2);
    let root = store.paths.root();
    let results = parallel::each(names, |name| {
        let result = monitor::bring_up(root, name, cmdline);
        bar.inc(1);
        result
    });
    bar.finish_and_clear();
    results
}
