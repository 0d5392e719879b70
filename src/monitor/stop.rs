//! Waiting for VMs to end, and ending them. All waiting is on a pidfd: nothing is polled.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::runtime;
use super::state::{self, State, client, has_hung_up};
use crate::failure::{Code, Failure};
use crate::store::lock::{self, Holder, Lock, Seen};

/// How long a monitor may take to answer, and then to end, before it is killed.
const ANSWER: Duration = Duration::from_secs(2);

/// Before a lock is looked at again whose holder is about to sign it, or may give it back and live
/// on: at first, and at most.
const GLANCE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// Waits until nobody runs the VM in `dir`; `false` when `deadline` came first.
///
/// # Errors
/// Its files cannot be read.
pub fn wait(dir: &Path, deadline: Option<Instant>) -> Result<bool> {
    let (mut pause, longest) = GLANCE;
    loop {
        let Seen { held: true, holder, worker, readers } = lock::look(dir)? else {
            return Ok(true);
        };
        let process = match (readers.first(), &holder) {
            (Some(reader), _) => open_reader(dir, *reader)?,
            (None, Some(holder)) => open(dir, holder)?,
            (None, None) => None,
        };
        if let Some(process) = process {
            wait_for(process, deadline)?;
        } else {
            let glance = Instant::now() + pause;
            let until = deadline.map_or(glance, |deadline| deadline.min(glance));
            glance_at(dir, worker, until)?;
            pause = longest.min(pause * 2);
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Ok(!lock::look(dir)?.held);
        }
    }
}

/// Waits for the end of a process that is at work on a VM, at most until then.
fn glance_at(dir: &Path, worker: Option<u32>, until: Instant) -> Result<()> {
    match worker.map(|worker| open_worker(dir, worker)).transpose()?.flatten() {
        Some(process) => wait_for(process, Some(until)).map(drop),
        None => {
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            Ok(())
        }
    }
}

/// Waits for one process, until the deadline if it does not end before.
fn wait_for(process: OwnedFd, deadline: Option<Instant>) -> Result<()> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let left = left.map(Timespec::try_from).transpose().context("the time is too long")?;
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, left.as_ref()));
    ready.map(drop).context("cannot wait for its monitor")
}

/// A handle on the process that holds the lock.
fn open(dir: &Path, holder: &Holder) -> Result<Option<OwnedFd>> {
    open_if(dir, holder.pid, |still| still.held && still.holder.as_ref() == Some(holder))
}

/// A handle on one of those that share the lock.
fn open_reader(dir: &Path, pid: u32) -> Result<Option<OwnedFd>> {
    open_if(dir, pid, |still| still.readers.contains(&pid))
}

/// A handle on the one that has the lock and has not signed it.
fn open_worker(dir: &Path, pid: u32) -> Result<Option<OwnedFd>> {
    open_if(dir, pid, |still| still.worker == Some(pid))
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
        State::Starting | State::Busy(_) | State::Serving(_) | State::Reading(_) => {
            return kill(dir);
        }
        state => return Err(nothing_to_stop(&state)),
    };
    if press(dir, &holder)? && wait(dir, Some(Instant::now() + patience))? {
        return Ok(());
    }
    make_sure(dir)
}

/// Presses the power button: by a signal where nobody answers on the sockets, which go with the
/// directory they are in when a user logs out. Whether that can have reached the guest.
fn press(dir: &Path, holder: &Holder) -> Result<bool> {
    match client(holder, ANSWER).power_button() {
        Ok(()) => return Ok(true),
        Err(error) if !has_hung_up(&error) => return Ok(false),
        Err(_) => {}
    }
    let process = open(dir, holder)?;
    let pressed = process.map(|it| rustix::process::pidfd_send_signal(it, Signal::TERM));
    Ok(pressed.is_none_or(|pressed| pressed.is_ok()))
}

/// Ends the VM at once: asks its monitor to stop, which records the end, and kills the monitor
/// if it does not.
///
/// # Errors
/// It does not run, or does not end.
pub fn kill(dir: &Path) -> Result<()> {
    let state = State::of(dir)?;
    if let State::Running(holder) = &state {
        // One that hung up is writing down how it ended.
        let ends =
            client(holder, ANSWER).stop().map_or_else(|error| has_hung_up(&error), |()| true);
        if ends && wait(dir, Some(Instant::now() + ANSWER))? {
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
        return Err(nothing_to_stop(&state));
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

/// As [`kill`], of a VM that may be ending by itself.
///
/// # Errors
/// It does not end.
pub fn make_sure(dir: &Path) -> Result<()> {
    match kill(dir) {
        Err(_) if !State::of(dir)?.is_live() => Ok(()),
        killed => killed,
    }
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

fn nothing_to_stop(state: &State) -> anyhow::Error {
    state::not_running(state).hint("offshoot ps lists what runs").into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::store::lock::Phase;

    /// How often this thread has waited so far.
    fn waits() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("proc");
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse().ok()).expect("a number")
    }

    #[test]
    fn a_monitor_that_is_ending_is_left_to_write_down_how() {
        let dir = tempfile::tempdir().expect("a directory");
        let control = UnixListener::bind(dir.path().join(runtime::CONTROL)).expect("a socket");
        let mut monitor = Command::new("cat").stdin(Stdio::piped()).spawn().expect("it starts");
        let holder = Holder {
            pid: monitor.id(),
            ..Holder::this_process(Phase::Running, dir.path().to_owned())
        };
        let mut lock = Lock::take(dir.path()).expect("it is free");
        lock.sign(&holder).expect("signed");
        std::thread::scope(|scope| {
            let killer = scope.spawn(|| kill(dir.path()));
            drop(control.accept().expect("it is asked to stop"));
            let pid = Pid::from_child(&monitor);
            let process =
                rustix::process::pidfd_open(pid, PidfdFlags::empty()).expect("it is ours");
            wait_for(process, Some(Instant::now() + Duration::from_millis(100))).expect("a wait");
            drop((monitor.stdin.take(), lock));
            assert!(monitor.wait().expect("it ended").success(), "it was killed");
            killer.join().expect("no panic").expect("it ended");
        });
    }

    #[test]
    fn a_monitor_whose_sockets_are_gone_is_told_by_a_signal() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut monitor = Command::new("cat").stdin(Stdio::piped()).spawn().expect("it starts");
        // It ends by itself without.
        let stdin = monitor.stdin.take();
        let holder = Holder {
            pid: monitor.id(),
            ..Holder::this_process(Phase::Running, dir.path().join("gone"))
        };
        let mut lock = Lock::take(dir.path()).expect("it is free");
        lock.sign(&holder).expect("signed");
        std::thread::scope(|scope| {
            let stopper = scope.spawn(|| shut_down(dir.path(), Duration::from_secs(60)));
            let ended = monitor.wait().expect("it ended");
            drop((stdin, lock));
            assert_eq!(ended.signal(), Some(Signal::TERM.as_raw()), "it was killed");
            stopper.join().expect("no panic").expect("it ended");
        });
    }

    #[test]
    fn whoever_is_at_work_is_waited_for_with_few_looks_though_it_lives_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = Lock::take(dir.path()).expect("it is free");
        let (before, later) = (waits(), Instant::now() + Duration::from_millis(500));
        assert!(!wait(dir.path(), Some(later)).expect("it can be told"));
        assert!(waits() - before < 50, "it waited {} times", waits() - before);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| wait(dir.path(), None).expect("it can be told"));
            drop(lock);
            assert!(waiter.join().expect("no panic"));
        });
    }

    #[test]
    fn a_vm_that_has_ended_by_itself_is_as_dead_as_one_that_was_killed() {
        let dir = tempfile::tempdir().expect("a directory");
        kill(dir.path()).expect_err("nobody runs it");
        make_sure(dir.path()).expect("it does not run");
    }
}
