//! `start`: a monitor for each VM.

use anyhow::{Context, Result};

use super::{App, each};
use crate::args;
use crate::monitor::{self, Settings};
use crate::output;
use crate::store::{Name, Store};

/// Starts VMs, and prints the names of those that run.
pub fn start(app: &App, args: &args::Start) -> Result<()> {
    let store = app.store()?;
    start_all(&store, &args.names, args.cmdline.as_deref())?;
    let names: String = args.names.iter().map(|name| format!("{name}\n")).collect();
    output::print(&names)
}

/// Starts each VM, and waits until its vCPUs run.
pub fn start_all(store: &Store, names: &[Name], cmdline: Option<&str>) -> Result<()> {
    each(names, |name| {
        let start = || {
            let vm = store.vm(name)?;
            let image = store.image_of(&vm)?;
            let settings = Settings { cmdline: cmdline.map(str::to_owned), attached: None };
            monitor::start(store, &vm, image.as_ref(), settings)?.wait_until_runs()
        };
        start().with_context(|| format!("cannot start {name}"))
    })
}
