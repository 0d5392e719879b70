//! Who writes to a VM's disk: for the store, which must not know of monitors.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use blockdev::copy::Watch;
use vmm::control::Client;
use vmm::control::client::Error as ControlError;
use vmm::layers::{Operation, Phase, Status};

use super::PATIENCE;
use super::state::{State, client, has_hung_up};
use crate::failure::{self, Code, Failure};
use crate::store::fault;
use crate::store::lock::{Holder, Lock};
use crate::store::writer::Online;
use crate::store::{Vm, Writer};

/// How long a monitor may take to make durable what its guest has written so far.
const LONG: Duration = Duration::from_secs(120);

/// Between two looks at how far an operation is.
const GLANCE: Duration = Duration::from_millis(50);

/// Takes the lock of a VM that does not run, or finds the monitor of one that does.
///
/// # Errors
/// It is being started, or its files cannot be read.
pub fn writer(vm: &Vm) -> Result<Writer> {
    let error = match Lock::take(&vm.dir) {
        Ok(lock) => return Ok(Writer::Nobody(lock)),
        Err(error) => error,
    };
    match State::of(&vm.dir)? {
        State::Running(holder) | State::Paused(holder, _) => {
            let running = Running::new(&holder);
            // One that answers nothing is found out now, and not after a long wait for it to do much.
            running.client.describe()?;
            Ok(Writer::Monitor(Box::new(running)))
        }
        _ => Err(error),
    }
}

/// As [`writer`], of a VM that must not run.
///
/// # Errors
/// As [`lock`].
pub fn stopped(vm: &Vm) -> Result<Writer> {
    lock(vm).map(Writer::Nobody)
}

/// Takes the lock of a VM that must not run.
///
/// # Errors
/// It runs, or its files cannot be read.
pub fn lock(vm: &Vm) -> Result<Lock> {
    match Lock::take(&vm.dir) {
        Err(error) if failure::code(&error) == Code::InUse && failure::hint(&error).is_none() => {
            let hint = format!("offshoot stop {}", vm.record.name);
            Err(Failure::in_use(failure::text(&error)).hint(hint).into())
        }
        result => result,
    }
}

/// A monitor that runs its VM.
struct Running {
    client: Client,
    /// For what waits for the host's disk.
    patient: Client,
}

impl Running {
    fn new(holder: &Holder) -> Running {
        Running { client: client(holder, PATIENCE), patient: client(holder, LONG) }
    }
}

impl Online for Running {
    fn go_on(&self, delta: &Path) -> Result<Duration> {
        Ok(Duration::from_micros(self.patient.snapshot(delta)?.pause_us))
    }

    fn grow(&self, size: u64) -> Result<()> {
        Ok(self.patient.grow(size)?)
    }

    fn refuse_busy(&self) -> Result<()> {
        match self.client.progress()?.phase {
            Phase::Running => {
                let what = "an operation on its disk's layers is under way";
                Err(Failure::in_use(what).hint("wait for it to end").into())
            }
            Phase::None | Phase::Done | Phase::Failed => Ok(()),
        }
    }

    fn perform(&self, operation: &Operation, watch: Watch<'_>) -> Result<()> {
        self.client.begin(operation)?;
        fault::point("operation-begun");
        let mut broken_off = false;
        loop {
            let status = self.client.progress().map_err(ended)?;
            match status.phase {
                Phase::Running => {}
                Phase::Done => return Ok(()),
                Phase::Failed | Phase::None => return Err(why(status).into()),
            }
            if !broken_off && watch(status.done, status.all).is_break() {
                self.client.break_off()?;
                broken_off = true;
            }
            std::thread::sleep(GLANCE);
        }
    }
}

/// Why an operation failed, as it would be told had it been done here.
fn why(status: Status) -> Failure {
    let code = status.kind.and_then(failure::code_of_disk).unwrap_or(Code::Failed);
    let why = status.error.unwrap_or_else(|| "it was never begun".into());
    let failure = Failure::new(code, why);
    match status.try_next {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// An operation goes with the machine it was begun in, and nothing is lost by that.
fn ended(error: ControlError) -> anyhow::Error {
    if !has_hung_up(&error) {
        return error.into();
    }
    let what = "its monitor ended before it was done";
    Failure::new(Code::Failed, what).hint("the same again").into()
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn an_operation_whose_monitor_has_ended_is_to_be_begun_again() {
        let path = || "/run/c".into();
        let unreachable = |kind: ErrorKind| {
            ended(ControlError::Unreachable { path: path(), source: kind.into() })
        };
        let no_answer =
            |kind: ErrorKind| ended(ControlError::NoAnswer { path: path(), source: kind.into() });
        for error in [unreachable(ErrorKind::NotFound), no_answer(ErrorKind::ConnectionReset)] {
            assert_eq!(failure::code(&error), Code::Failed);
            assert_eq!(failure::hint(&error), Some("the same again"));
        }
        let silent = no_answer(ErrorKind::TimedOut);
        assert!(failure::hint(&silent).is_some_and(|hint| hint.contains("stop --force")));
    }
}
