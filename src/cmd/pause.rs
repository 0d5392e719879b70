//! `pause` and `resume`: a running VM's vCPUs held, and let go on.

use anyhow::{Context, Result};
use vmm::control::Client;

use super::{App, each};
use crate::monitor;
use crate::store::Name;

/// Holds the vCPUs of each.
pub fn pause(app: &App, names: &[Name]) -> Result<()> {
    ask(app, names, "pause", |client| Ok(client.pause()?))
}

/// Lets the vCPUs of each go on.
pub fn resume(app: &App, names: &[Name]) -> Result<()> {
    ask(app, names, "resume", |client| Ok(client.resume()?))
}

fn ask(app: &App, names: &[Name], verb: &str, act: fn(&Client) -> Result<()>) -> Result<()> {
    let store = app.store()?;
    each(names, |name| {
        let ask = || act(&monitor::control(&store.vm(name)?)?);
        ask().with_context(|| format!("cannot {verb} {name}"))
    })
}
