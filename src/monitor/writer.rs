//! Who writes to a VM's disk: for the store, which must not know of monitors.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use blockdev::copy::Watch;
use vmm::control::Client;
use vmm::layers::{Operation, Phase};

use super::state::{State, client};
use crate::failure::{self, Code, Failure};
use crate::store::lock::Lock;
use crate::store::writer::Online;
use crate::store::{Vm, Writer};

/// How long a monitor may take to make durable what its guest has written so far.
const PATIENCE: Duration = Duration::from_secs(120);

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
            Ok(Writer::Monitor(Box::new(Running { client: client(&holder, PATIENCE) })))
        }
        _ => Err(error),
    }
}

/// As [`writer`], of a VM that must not run.
///
/// # Errors
/// It runs, or its files cannot be read.
pub fn stopped(vm: &Vm) -> Result<Writer> {
    match Lock::take(&vm.dir) {
        Ok(lock) => Ok(Writer::Nobody(lock)),
        Err(error) if failure::code(&error) == Code::InUse => {
            let state = State::of(&vm.dir)?;
            Err(Failure::in_use(format!("it is {}", state.word()))
                .hint(format!("offshoot stop {}", vm.record.name))
                .into())
        }
        Err(error) => Err(error),
    }
}

/// A monitor that runs its VM.
struct Running {
    client: Client,
}

impl Online for Running {
    fn go_on(&self, delta: &Path) -> Result<Duration> {
        Ok(Duration::from_micros(self.client.snapshot(delta)?.pause_us))
    }

    fn grow(&self, size: u64) -> Result<()> {
        Ok(self.client.grow(size)?)
    }

    fn refuse_busy(&self) -> Result<()> {
        match self.client.progress()?.phase {
            Phase::Running => {
                Err(Failure::in_use("an operation on its disk's layers is under way").into())
            }
            Phase::None | Phase::Done | Phase::Failed => Ok(()),
        }
    }

    fn perform(&self, operation: &Operation, watch: Watch<'_>) -> Result<()> {
        self.client.begin(operation)?;
        let mut broken_off = false;
        loop {
            let status = self.client.progress()?;
            match status.phase {
                Phase::Running => {}
                Phase::Done => return Ok(()),
                Phase::Failed if broken_off => return Err(blockdev::Error::Interrupted.into()),
                Phase::Failed | Phase::None => {
                    let why = status.error.unwrap_or_else(|| "it was never begun".into());
                    return Err(Failure::new(Code::Failed, why).into());
                }
            }
            if !broken_off && watch(status.done, status.all).is_break() {
                self.client.break_off()?;
                broken_off = true;
            }
            std::thread::sleep(GLANCE);
        }
    }
}
