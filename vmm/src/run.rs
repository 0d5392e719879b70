//! One machine from its spec to its exit: the monitor process's event loop.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use crate::console::{Console, Pipe};
use crate::control::state::{Instance, MachineConfig, Snapshot};
use crate::control::{Call, Response, Server};
use crate::error::{Error, Result};
use crate::machine::{Condition, Machine};
use crate::poll::{Watch, event};
use crate::signal::Signals;
use crate::trouble::Trouble;
use crate::{Exit, Spec, trim};

/// What joins a machine to the world. Everything may be left out.
#[derive(Debug, Default)]
pub struct Shell {
    /// Where the control API is served; made by [`listen`](crate::control::listen).
    pub control: Option<UnixListener>,
    /// Whoever connects sees the console's output from then on, and may type. One who does not
    /// read loses output, and is told how much.
    pub console: Option<UnixListener>,
    /// A console client from the first byte on. The guest waits for it when it does not read.
    pub attached: Option<UnixStream>,
    /// Every byte of the console is appended, here opened for appending. The oldest half goes
    /// when it reaches 16 MiB.
    pub log: Option<File>,
    /// Is told what becomes of the machine.
    pub witness: Witness,
    /// Gets one byte when the vCPUs run, and is closed then, or without one when they never do.
    pub started: Option<OwnedFd>,
}

/// What becomes of a machine while it lives.
#[derive(Clone, Debug)]
pub enum Happening {
    /// Its vCPUs run for the first time.
    Runs,
    /// They are held; why, where nobody asked for it.
    Paused(Option<Trouble>),
    /// They run again.
    Resumed,
}

/// Who is told what becomes of a machine, on the thread that runs its event loop.
#[derive(Default)]
pub struct Witness(pub Option<Box<dyn FnMut(Happening) + Send>>);

impl Witness {
    fn tell(&mut self, happening: Happening) {
        if let Some(tell) = &mut self.0 {
            tell(happening);
        }
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Witness").field(&self.0.is_some()).finish()
    }
}

/// Makes the machine `spec` asks for, runs it, and returns how it ended, with nothing of it left.
///
/// SIGTERM and SIGINT press the power button; what follows is up to the guest, so whoever wants
/// more stops the machine by its control socket, or kills the process. Both signals stay blocked
/// in the calling thread.
///
/// # Errors
/// The machine cannot be made, or the host refuses something while it runs.
pub fn run(spec: &Spec, shell: Shell) -> Result<Exit> {
    // Before there are threads, which inherit it.
    let mut signals =
        Signals::collect(&[libc::SIGTERM, libc::SIGINT]).map_err(Error::host("collect signals"))?;
    let pipe = Pipe::new().map_err(Error::host("create the console"))?;
    let mut machine = Machine::create(spec, pipe.clone())?;
    let console = Console::new(machine.serial(), pipe, shell.log, shell.console, shell.attached);
    let mut console = console.map_err(Error::host("set up the console"))?;
    let mut control =
        Server::new(shell.control).map_err(Error::host("serve the control socket"))?;
    trim::program();
    machine.resume()?;
    let mut witness = shell.witness;
    witness.tell(Happening::Runs);
    if let Some(started) = shell.started {
        // Whoever wanted to know may be gone; the machine runs all the same.
        let _ = File::from(started).write_all(b"1");
    }
    let mut stopped = false;
    while !stopped && machine.ended().is_none() {
        wait(&signals, &machine, &console, &control)?;
        if signals.arrived() {
            machine.press_power_button()?;
        }
        if let Some(trouble) = machine.heed() {
            announce(&spec.name, &trouble, &mut console);
            witness.tell(Happening::Paused(Some(trouble)));
        }
        console.serve();
        if machine.snapshot().is_some_and(|snapshot| snapshot.is_done()) {
            answer_snapshot(machine.end_snapshot(), &mut control);
        }
        control.serve(|call| {
            let before = machine.condition();
            let response = answer(call, spec, &mut machine, &mut stopped);
            tell_change(before, machine.condition(), &mut witness);
            response
        });
    }
    let exit = machine.ended().cloned().unwrap_or(Exit::Stopped);
    answer_snapshot(machine.end_snapshot(), &mut control);
    let shut_down = machine.shut_down();
    console.finish().map_err(Error::host("wait for the console's client"))?;
    shut_down.map(|()| exit)
}

fn wait(signals: &Signals, machine: &Machine, console: &Console, control: &Server) -> Result<()> {
    let mut watch = Watch::default();
    watch.input(signals.as_fd());
    watch.input(event(machine.wake()));
    watch.input(event(machine.trouble_event()));
    if let Some(snapshot) = machine.snapshot() {
        watch.input(snapshot.as_fd());
    }
    console.watch(&mut watch);
    control.watch(&mut watch);
    watch.wait(None).map_err(Error::host("wait for something to happen"))
}

/// Says that the machine waits for somebody: in the log, and to those who watch its console.
fn announce(name: &str, trouble: &Trouble, console: &mut Console) {
    let line =
        format!("{name} is paused: {}; make room, then: offshoot resume {name}", trouble.message);
    log::error!("{line}");
    console.say(&line);
}

/// Tells what a client's request has changed.
fn tell_change(before: Condition, now: Condition, witness: &mut Witness) {
    match (before, now) {
        (Condition::Running, Condition::Paused) => witness.tell(Happening::Paused(None)),
        (Condition::Paused, Condition::Running) => witness.tell(Happening::Resumed),
        _ => {}
    }
}

/// Tells whoever asked for a snapshot what came of it.
fn answer_snapshot(ended: Option<Result<Duration>>, control: &mut Server) {
    match ended {
        Some(Ok(pause)) => control.answer(&Response::json(&Snapshot::new(pause))),
        Some(Err(error)) => control.answer(&Response::failed(&error)),
        None => {}
    }
}

/// Does what a client asks for; nothing where the answer comes when it is done.
fn answer(call: Call, spec: &Spec, machine: &mut Machine, stopped: &mut bool) -> Option<Response> {
    let done = match call {
        Call::Describe => {
            let instance = Instance::new(&spec.name, machine.condition());
            return Some(Response::json(&Instance { trouble: machine.trouble(), ..instance }));
        }
        Call::MachineConfig => return Some(Response::json(&MachineConfig::new(spec))),
        Call::Pause => {
            machine.pause();
            Ok(())
        }
        Call::Resume => {
            if let Some(trouble) = machine.trouble() {
                // The log itself may have had no room when it was to be told.
                log::warn!("{} goes on after this: {}", spec.name, trouble.message);
            }
            machine.resume()
        }
        Call::PowerButton => machine.press_power_button(),
        Call::Stop => {
            *stopped = true;
            Ok(())
        }
        Call::Snapshot { delta } => match machine.begin_snapshot(delta) {
            Ok(()) => return None,
            refused => refused,
        },
        Call::Grow { size } => machine.grow(size),
        Call::Begin(operation) => machine.begin(operation),
        Call::Progress => return Some(Response::json(&machine.layers().status())),
        Call::BreakOff => {
            machine.layers().break_off();
            Ok(())
        }
    };
    Some(done.map_or_else(|error| Response::failed(&error), |()| Response::done()))
}
