//! `run`: clone and start in one, the serial console on this terminal, the guest's status at the
//! end.

use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::{Context, Result};

use super::{App, clone_request};
use crate::args;
use crate::console::{Event, Pump, Signals};
use crate::failure::{Code, Failure};
use crate::monitor::{self, Monitor, Settings, State};
use crate::output;
use crate::store::clone::Names;
use crate::store::{Away, Image, Store, Vm};
use crate::terminal::Raw;

/// Runs a new clone to its end; the result is what this process ends with.
pub fn run(app: &App, args: args::Run) -> Result<u8> {
    let source = args.source.clone();
    run_clone(app, args).with_context(|| Failure::new(Code::Early, format!("cannot run {source}")))
}

fn run_clone(app: &App, args: args::Run) -> Result<u8> {
    // Before there is anything to leave behind.
    let signals = Signals::catch()?;
    let names = args.name.map_or(Names::Next(1), |name| Names::Given(vec![name]));
    let mut request = clone_request(args.source, names, args.machine)?;
    request.ephemeral |= args.rm;
    let mut store = app.store()?;
    let clones = store.clone(&request, monitor::writer)?;
    if let Some(remark) = clones.remark(&request.source).filter(|_| !app.quiet) {
        output::tell(&format!("offshoot: {remark}\n"));
    }
    let [vm] = clones.vms.as_slice() else { unreachable!("one name was asked for") };
    let image = store.image_of(vm)?;

    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let (console, theirs) = UnixStream::pair().context("cannot make a console")?;
    let monitor = match begin(&store, vm, image.as_ref(), theirs) {
        Ok(monitor) => monitor,
        Err(error) => {
            // Of one that never ran there is nothing to keep.
            store.remove_vm(&vm.record.name, Away::Keep)?;
            return Err(error);
        }
    };
    let status = attend(vm, monitor, console, &signals, deadline);
    if args.rm {
        let removed = store.remove_vm(&vm.record.name, Away::Keep);
        return status.and_then(|status| removed.map(|()| status));
    }
    status
}

/// Starts the VM with its console on `attached`.
fn begin(store: &Store, vm: &Vm, image: Option<&Image>, attached: UnixStream) -> Result<Monitor> {
    let settings = Settings { cmdline: None, attached: Some(attached) };
    let mut monitor = monitor::start(store, vm, image, settings)?;
    monitor.wait_until_runs()?;
    Ok(monitor)
}

/// Stays with a running VM to its end.
fn attend(
    vm: &Vm,
    mut monitor: Monitor,
    console: UnixStream,
    signals: &Signals,
    deadline: Option<Instant>,
) -> Result<u8> {
    let raw = Raw::enter().context("cannot use the terminal")?;
    let event = Pump::new(&console, signals, raw.is_some()).run(deadline);
    drop(raw);
    // A monitor waits for its client to read; this one does not any more.
    drop(console);
    if !matches!(event, Ok(Event::Closed)) {
        monitor::make_sure(&vm.dir)?;
    }
    monitor.reap()?;
    match event? {
        Event::Closed => status(vm),
        Event::Left | Event::Signal => Ok(Code::Interrupted as u8),
        Event::Deadline => {
            output::tell(&format!("offshoot: {} was stopped: its time was up\n", vm.record.name));
            Ok(Code::Timeout as u8)
        }
    }
}

/// How the guest ended, as a process's status.
fn status(vm: &Vm) -> Result<u8> {
    let end = match State::of(&vm.dir)? {
        State::Stopped(end) => end,
        state => {
            let what = format!("its monitor died, and left it {}", state.word());
            return Err(Failure::new(Code::Failed, what)
                .hint(format!("look into {}", vm.monitor_log().display()))
                .into());
        }
    };
    if let Some(report) = end.error {
        return Err(report.into());
    }
    if !end.is_orderly() {
        output::tell(&format!("offshoot: {}: {}\n", vm.record.name, end.describe()));
    }
    Ok(end.status)
}
