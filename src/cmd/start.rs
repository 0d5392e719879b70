//! `start`: a monitor for each VM.

use anyhow::Result;

use super::App;
use crate::args;
use crate::failure;
use crate::monitor;
use crate::output::{self, progress};
use crate::parallel;
use crate::store::{Name, Store};

/// Starts VMs, and prints the names of those that run.
pub fn start(app: &App, args: &args::Start) -> Result<()> {
    let store = app.store()?;
    start_all(app, &store, &args.names, args.cmdline.as_deref())?;
    let names: String = args.names.iter().map(|name| format!("{name}\n")).collect();
    output::print(&names)
}

/// Starts VMs, several at a time, and waits until the vCPUs of all run.
pub fn start_all(app: &App, store: &Store, names: &[Name], cmdline: Option<&str>) -> Result<()> {
    let bar = progress::count("starting".into(), names.len() as u64, app.quiet || names.len() < 2);
    let root = store.paths.root();
    let results = parallel::each(names, |name| {
        let result = monitor::bring_up(root, name, cmdline);
        bar.inc(1);
        result
    });
    bar.finish_and_clear();
    failure::all(results.into_iter().filter_map(Result::err).collect())
}
