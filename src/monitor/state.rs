//! What a VM is doing, as its lock and its exit record tell.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use vmm::control::{Client, client};
use vmm::trouble::Trouble;

use super::end::End;
use super::runtime;
use crate::failure::Failure;
use crate::store::lock::{self, Holder, Phase};
use crate::store::{Name, Vm};

/// How long a list waits for one of its many monitors.
const GLANCE: Duration = Duration::from_millis(200);

/// What a VM is doing. Each state carries what is known only in it.
#[derive(Clone, Debug)]
pub enum State {
    /// It has never run.
    Created,
    /// Somebody is starting it.
    Starting,
    /// It does not run, and this process is at work on it.
    Busy(u32),
    /// Its monitor lives.
    Running(Holder),
    /// Its monitor lives and holds the vCPUs; why, where nobody asked for it.
    Paused(Holder, Option<Trouble>),
    /// It does not run, and its disk is served to other programs.
    Serving(Holder),
    /// It does not run, and these processes read its disk.
    Reading(Vec<u32>),
    /// It ran, and ended like this.
    Stopped(End),
    /// Its monitor was killed: there is no record of an end.
    Killed,
}

impl State {
    /// The state of the VM in `dir`, without asking its monitor: a paused one counts as running.
    ///
    /// # Errors
    /// Its files cannot be read.
    pub fn of(dir: &Path) -> Result<State> {
        let seen = lock::look(dir)?;
        if !seen.readers.is_empty() {
            return Ok(State::Reading(seen.readers));
        }
        if let Some(worker) = seen.worker {
            return Ok(State::Busy(worker));
        }
        match (seen.held, seen.holder) {
            (true, Some(holder)) if holder.phase == Phase::Running => Ok(State::Running(holder)),
            (true, Some(holder)) if holder.phase == Phase::Serving => Ok(State::Serving(holder)),
            (true, _) => Ok(State::Starting),
            (false, holder) => Ok(match (End::load(dir)?, holder) {
                (Some(end), _) => State::Stopped(end),
                (None, Some(Holder { phase: Phase::Running, .. })) => State::Killed,
                (None, _) => State::Created,
            }),
        }
    }

    /// As [`of`](State::of), and asks a running monitor whether it is paused.
    ///
    /// # Errors
    /// As [`of`](State::of).
    pub fn ask(dir: &Path) -> Result<State> {
        Ok(match State::of(dir)? {
            State::Running(holder) => match paused(&holder) {
                Some(trouble) => State::Paused(holder, trouble),
                None => State::Running(holder),
            },
            state => state,
        })
    }

    /// The process that has it.
    pub fn pid(&self) -> Option<u32> {
        match self {
            State::Running(holder) | State::Paused(holder, _) | State::Serving(holder) => {
                Some(holder.pid)
            }
            State::Busy(worker) => Some(*worker),
            State::Reading(readers) => readers.first().copied(),
            State::Created | State::Starting | State::Stopped(_) | State::Killed => None,
        }
    }

    /// Whether a process has it.
    pub fn is_live(&self) -> bool {
        !matches!(self, State::Created | State::Stopped(_) | State::Killed)
    }

    /// In one word, which programs may rely on.
    pub fn word(&self) -> &'static str {
        match self {
            State::Created => "created",
            State::Starting => "starting",
            State::Busy(_) => "busy",
            State::Running(_) => "running",
            State::Paused(..) => "paused",
            State::Serving(_) => "serving",
            State::Reading(_) => "reading",
            State::Stopped(_) => "stopped",
            State::Killed => "killed",
        }
    }
}

/// A monitor that does not answer is not paused, as far as anybody can tell.
fn paused(holder: &Holder) -> Option<Option<Trouble>> {
    let instance = client(holder, GLANCE).describe().ok()?;
    (instance.state == vmm::control::state::State::Paused).then_some(instance.trouble)
}

/// The control client of a monitor.
pub fn client(holder: &Holder, timeout: Duration) -> Client {
    Client::new(&holder.sockets.join(runtime::CONTROL), timeout)
}

/// Whether a monitor did not answer because it is ending, or has ended.
pub fn has_hung_up(error: &client::Error) -> bool {
    match error {
        client::Error::Unreachable { .. } => true,
        client::Error::NoAnswer { source, .. } => source.kind() != ErrorKind::TimedOut,
        client::Error::Refused { .. } => false,
    }
}

/// Who runs a VM.
///
/// # Errors
/// Nobody does.
pub fn holder(vm: &Vm) -> Result<Holder> {
    match State::of(&vm.dir)? {
        State::Running(holder) | State::Paused(holder, _) => Ok(holder),
        state => Err(not_running(&state).hint(so_that_it_runs(&state, &vm.record.name)).into()),
    }
}

/// Why something only a running VM can do cannot be asked of it.
pub fn not_running(state: &State) -> Failure {
    Failure::in_use(format!("it is not running but {}", state.word()))
}

fn so_that_it_runs(state: &State, name: &Name) -> String {
    match state {
        State::Starting => "the same again".into(),
        State::Busy(pid) => format!("wait for the end of process {pid}"),
        State::Serving(_) | State::Reading(_) => format!("offshoot restart {name}"),
        _ => format!("offshoot start {name}"),
    }
}
