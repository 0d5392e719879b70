//! `console`: this terminal on a running VM's serial port.

use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};

use super::App;
use crate::console::{Pump, Signals};
use crate::monitor;
use crate::output;
use crate::store::Name;
use crate::terminal::Raw;

/// Attaches until the VM ends, `~.` is typed, or a signal comes. The VM goes on.
pub fn console(app: &App, name: &Name) -> Result<()> {
    let connect = || {
        let path = monitor::console_socket(&app.store()?.vm(name)?)?;
        UnixStream::connect(&path).with_context(|| format!("cannot connect to {}", path.display()))
    };
    let console = connect().with_context(|| format!("cannot attach to {name}"))?;
    let signals = Signals::catch()?;
    let raw = Raw::enter().context("cannot use the terminal")?;
    if raw.is_some() && !app.quiet {
        output::tell(&format!("attached to {name}; ~. detaches\r\n"));
    }
    Pump::new(&console, &signals, raw.is_some()).run(None)?;
    drop(raw);
    Ok(())
}
