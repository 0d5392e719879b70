//! The monitor's side: `offshoot vmm`. It does next to nothing before the machine, because this is
//! what a start is made of.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

use anyhow::{Context, Result};

use super::end::{End, Report};
use super::job::{self, Job};
use super::runtime;
use crate::failure;
use crate::store::Timestamp;
use crate::store::events::{self, Event};
use crate::store::fault;
use crate::store::lock::{Holder, Lock, Phase};

/// What this process is to be a monitor of.
pub enum Duty {
    /// `vmm --dir DIR`: a VM of a store, as a job on stdin says.
    Vm(PathBuf),
    /// `vmm --spec FILE`: a machine of no store, for benchmarks and for debugging a monitor.
    Spec(PathBuf),
}

impl Duty {
    /// The duty this process was started for, if it is one. Looked at before anything else.
    pub fn of_this_process() -> Option<Duty> {
        let mut words = std::env::args_os().skip(1);
        let [verb, flag, path] = [words.next()?, words.next()?, words.next()?];
        match flag.to_str()? {
            _ if verb != "vmm" => None,
            "--dir" => Some(Duty::Vm(path.into())),
            "--spec" => Some(Duty::Spec(path.into())),
            _ => None,
        }
    }

    /// Runs the machine to its end.
    pub fn perform(&self) -> ExitCode {
        match self {
            Duty::Vm(dir) => serve(dir),
            Duty::Spec(file) => match run_spec(file) {
                Ok(exit) => ExitCode::from(exit.status()),
                Err(error) => ExitCode::from(failure::report(&error)),
            },
        }
    }
}

/// Runs the machine a file describes, as JSON, with its console on stdout.
fn run_spec(file: &Path) -> Result<vmm::Exit> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let spec = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no machine's spec", file.display()))?;
    let console = io::stdout().as_fd().try_clone_to_owned()?;
    let shell = vmm::Shell { log: Some(console.into()), ..vmm::Shell::default() };
    Ok(vmm::run(&spec, shell)?)
}

/// Runs the machine it is told to, and leaves a record of its end.
fn serve(dir: &Path) -> ExitCode {
    // A monitor outlives its terminal; it fails only where it has a session already.
    let _ = rustix::process::setsid();
    let started = Timestamp::now();
    let parent = io::stdin();
    let (job, handles) = match job::receive(parent.as_fd()).and_then(Handles::sort) {
        Ok(it) => it,
        Err(error) => return ExitCode::from(failure::report(&error)),
    };
    fault::point("monitor-began");
    let (result, _lock) = run(dir, &job, handles, parent.as_fd().try_clone_to_owned());
    fault::point("machine-ended");
    let end = End::of(&result, started);
    if let Err(error) = end.save(dir) {
        log::error!("{}", failure::text(&error));
    }
    tell(dir, &job.spec.name, "stopped", |event| event.with("end", &end));
    if let Err(error) = &result {
        log::error!("{}", failure::text(error));
        job::report(parent.as_fd(), &Report::of(error));
    }
    fault::point("end-recorded");
    runtime::remove(&job.sockets);
    ExitCode::from(end.status)
}

/// The descriptors that came with the job.
struct Handles {
    lock: Lock,
    control: UnixListener,
    console: UnixListener,
    log: File,
    attached: Option<UnixStream>,
}

impl Handles {
    fn sort((job, descriptors): (Job, Vec<OwnedFd>)) -> Result<(Job, Handles)> {
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().context("the job came with too few descriptors");
        let handles = Handles {
            lock: Lock::inherit(next()?),
            control: next()?.into(),
            console: next()?.into(),
            log: next()?.into(),
            attached: next().ok().map(UnixStream::from),
        };
        Ok((job, handles))
    }
}

/// Signs the lock, runs the machine, and gives the lock back to be held until the end is recorded.
fn run(
    dir: &Path,
    job: &Job,
    handles: Handles,
    started: io::Result<OwnedFd>,
) -> (Result<vmm::Exit>, Lock) {
    let Handles { mut lock, control, console, log, attached } = handles;
    let machine = || {
        lock.sign(&Holder::this_process(Phase::Running, job.sockets.clone()))?;
        End::clear(dir)?;
        let shell = vmm::Shell {
            control: Some(control),
            console: Some(console),
            attached,
            log: Some(log),
            started: Some(started?),
            witness: vmm::Witness(Some(witness(dir, job))),
        };
        Ok(vmm::run(&job.spec, shell)?)
    };
    let result = machine();
    (result, lock)
}

/// Has others know what becomes of the machine.
fn witness(dir: &Path, job: &Job) -> Box<dyn FnMut(vmm::Happening) + Send> {
    let (dir, name) = (dir.to_owned(), job.spec.name.clone());
    Box::new(move |happening| match happening {
        vmm::Happening::Runs => tell(&dir, &name, "running", |it| it.with("pid", process::id())),
        vmm::Happening::Paused(None) => tell(&dir, &name, "paused", |it| it),
        vmm::Happening::Paused(Some(trouble)) => {
            tell(&dir, &name, "paused", |it| it.with("trouble", trouble));
        }
        vmm::Happening::Resumed => tell(&dir, &name, "resumed", |it| it),
    })
}

/// Tells something of the VM in `dir`, which is a store's.
fn tell(dir: &Path, name: &str, what: &str, details: impl FnOnce(Event) -> Event) {
    let root = dir.parent().and_then(Path::parent);
    if let (Some(root), Some(id)) = (root, dir.file_name()) {
        let event = Event::of_vm(what, name, &id.to_string_lossy());
        events::tell(root, [details(event)]);
    }
}
