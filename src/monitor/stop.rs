//! Waiting for VMs to end, and ending them. All waiting is on a pidfd: nothing is polled.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::runtime;
use super::state::{State, client};
use crate::failure::{Code, Failure};
use crate::store::lock::{self, Holder, Lock, Seen};

/// How long a monitor may take to answer, and then to end, before it is killed.
const ANSWER: Duration = Duration::from_secs(2);

/// Between looks at a lock whose holder has not signed it yet, which takes it microseconds.
const SIGNING: Duration = Duration::from_millis(1);

/// Waits until nobody runs the VM in `dir`; `false` when `deadline` came first.
///
/// # Errors
/// Its files cannot be read.
pub fn wait(dir: &Path, deadline: Option<Instant>) -> Result<bool> {
    loop {
        let Seen { held: true, holder, readers, .. } = lock::look(dir)? else {
            return Ok(true);
        };
        let process = match (readers.first(), &holder) {
            (Some(reader), _) => open_reader(dir, *reader)?,
            (None, Some(holder)) => open(dir, holder)?,
            (None, None) => None,
        };
        let ended = process.map(|process| wait_for(process, deadline)).transpose()?;
        if ended == Some(false) || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Ok(false);
        }
        if ended.is_none() {
            std::thread::sleep(SIGNING);
        }
    }
}

/// Waits for one process: whether it ended in time.
fn wait_for(process: OwnedFd, deadline: Option<Instant>) -> Result<bool> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let left = left.map(Timespec::try_from).transpose().context("the time is too long")?;
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, left.as_ref()));
    Ok(ready.context("cannot wait for its monitor")? > 0)
}

/// A handle on the process that holds the lock.
fn open(dir: &Path, holder: &Holder) -> Result<Option<OwnedFd>> {
    open_if(dir, holder.pid, |still| still.held && still.holder.as_ref() == Some(holder))
}

/// A handle on one of those that share the lock.
fn open_reader(dir: &Path, pid: u32) -> Result<Option<OwnedFd>> {
    open_if(dir, pid, |still| still.readers.contains(&pid))
}

/// A handle on a process. Its number may have been given to another by then, so the lock is looked
/// at again.
fn open_if(dir: &Path, pid: u32, is_it: impl Fn(&Seen) -> bool) -> Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let process = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error).context("cannot watch its monitor"),
    };
    Ok(is_it(&lock::look(dir)?).then_some(process))
}

/// Presses the power button, and stops the VM if it did not end within `patience`.
///
/// # Errors
/// It does not run, or does not end.
pub fn shut_down(dir: &Path, patience: Duration) -> Result<()> {
    let holder = match State::ask(dir)? {
        State::Running(holder) => holder,
        State::Paused(holder, _) => {
            // Held vCPUs cannot feel a button.
            client(&holder, ANSWER).resume()?;
            holder
        }
        State::Starting | State::Serving(_) | State::Reading(_) => return kill(dir),
        state => return Err(not_running(&state)),
    };
    let pressed = client(&holder, ANSWER).power_button();
    if pressed.is_ok() && wait(dir, Some(Instant::now() + patience))? {
        return Ok(());
    }
    kill(dir)
}

/// Ends the VM at once: asks its monitor to stop, which records the end, and kills the monitor
/// if it does not.
///
/// # Errors
/// It does not run, or does not end.
pub fn kill(dir: &Path) -> Result<()> {
    let state = State::of(dir)?;
    if let State::Running(holder) = &state {
        let stopped = client(holder, ANSWER).stop();
        if stopped.is_ok() && wait(dir, Some(Instant::now() + ANSWER))? {
            return Ok(());
        }
    } else if let State::Serving(holder) = &state {
        if terminate(dir, open(dir, holder)?)? {
            return Ok(());
        }
    } else if let State::Reading(readers) = &state {
        let readers = readers.iter().map(|reader| open_reader(dir, *reader));
        return match terminate(dir, readers.collect::<Result<Vec<_>>>()?.into_iter().flatten())? {
            true => Ok(()),
            false => Err(Failure::in_use("its disk is still being read").into()),
        };
    } else if !state.is_live() {
        return Err(not_running(&state));
    }
    let holder = match lock::look(dir)? {
        Seen { held: true, holder: Some(holder), .. } => holder,
        Seen { held: true, worker: Some(worker), .. } => return work_ended(dir, worker),
        _ => return ended(dir),
    };
    let Some(process) = open(dir, &holder)? else { return ended(dir) };
    log::warn!("the monitor in {} does not stop and is killed", dir.display());
    rustix::process::pidfd_send_signal(process, Signal::KILL).context("cannot kill its monitor")?;
    ended(dir)?;
    // Whoever has the lock by now has taken the sockets over.
    if let Ok(_lock) = Lock::take(dir) {
        runtime::remove(&holder.sockets);
    }
    Ok(())
}

/// Asks those who have the disk to end, and waits: false when they do not.
fn terminate(dir: &Path, processes: impl IntoIterator<Item = OwnedFd>) -> Result<bool> {
    for process in processes {
        match rustix::process::pidfd_send_signal(process, Signal::TERM) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).context("cannot end who has its disk"),
        }
    }
    wait(dir, Some(Instant::now() + ANSWER))
}

/// Waits for the end of a monitor that cannot help it.
fn ended(dir: &Path) -> Result<()> {
    match wait(dir, Some(Instant::now() + ANSWER))? {
        true => Ok(()),
        false => Err(Failure::new(Code::Failed, "its monitor does not end").into()),
    }
}

/// Waits for the end of what a command does to a VM that does not run: it is nobody's to break off
/// but its caller's.
fn work_ended(dir: &Path, worker: u32) -> Result<()> {
    match wait(dir, Some(Instant::now() + ANSWER))? {
        true => Ok(()),
        false => {
            let what = format!("another command is at work on it (process {worker})");
            Err(Failure::in_use(what).hint(format!("wait for its end, or kill {worker}")).into())
        }
    }
}

/// A handle on the monitor of the VM in `dir`, readable when it has ended.
///
/// # Errors
/// Its files cannot be read.
pub fn process(dir: &Path) -> Result<Option<OwnedFd>> {
    match lock::look(dir)? {
        Seen { held: true, holder: Some(holder), readers, .. } if readers.is_empty() => {
            open(dir, &holder)
        }
        _ => Ok(None),
    }
}

fn not_running(state: &State) -> anyhow::Error {
    Failure::in_use(format!("it is not running but {}", state.word())).into()
}
