//! `exit.json`: how a VM ended the last time it ran.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::failure::{self, Code, Failure};
use crate::store::{Timestamp, paths};

/// The record's name in a VM's directory.
const FILE: &str = "exit.json";
/// More than any record has bytes.
const LONGEST: u64 = 1 << 20;

/// How a VM ended. Its absence after a run means that the monitor was killed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    /// What `run` ends with: the guest's status, or what [`vmm::Exit::status`] says.
    pub status: u8,
    /// When the monitor started.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What the machine did, unless the monitor failed.
    pub exit: Option<vmm::Exit>,
    /// Why the monitor failed, if it did.
    pub error: Option<Report>,
}

/// A failure, told to another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Its exit code.
    pub code: Code,
    /// The whole chain of causes.
    pub text: String,
    /// What to try next.
    pub hint: Option<String>,
}

impl End {
    /// What came of a machine that started at `started` and ends now.
    pub fn of(result: &Result<vmm::Exit>, started: Timestamp) -> End {
        let ended = Timestamp::now();
        match result {
            Ok(exit) => {
                End { status: exit.status(), started, ended, exit: Some(exit.clone()), error: None }
            }
            Err(error) => {
                let error = Some(Report::of(error));
                End { status: Code::Early as u8, started, ended, exit: None, error }
            }
        }
    }

    /// Whether the guest ended as it wanted to.
    pub fn is_orderly(&self) -> bool {
        matches!(self.exit, Some(vmm::Exit::Poweroff | vmm::Exit::DebugExit { .. }))
    }

    /// In a few words.
    pub fn describe(&self) -> String {
        match (&self.exit, &self.error) {
            (Some(exit), _) => describe(exit),
            (None, Some(error)) => format!("failed: {}", error.text),
            (None, None) => "ended".into(),
        }
    }

    /// Reads the record of the VM in `dir`; `None` when there is none.
    ///
    /// # Errors
    /// It cannot be read or makes no sense.
    pub fn load(dir: &Path) -> Result<Option<End>> {
        let path = dir.join(FILE);
        match read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .with_context(|| format!("{} is damaged", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes the record in one step.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        paths::replace(&path, &serde_json::to_vec(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Takes the record of the run before away.
    ///
    /// # Errors
    /// It is there and cannot be removed.
    pub fn clear(dir: &Path) -> Result<()> {
        match fs::remove_file(dir.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context("cannot remove the record of its last run")
            }
            _ => Ok(()),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::options().read(true).custom_flags(paths::PLAIN).open(path)?;
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(text)
}

fn describe(exit: &vmm::Exit) -> String {
    match exit {
        vmm::Exit::Poweroff => "powered off".into(),
        vmm::Exit::Reset => "asked for a reset".into(),
        vmm::Exit::TripleFault => "triple fault".into(),
        vmm::Exit::DebugExit { status } => format!("exited with status {status}"),
        vmm::Exit::InternalError { detail, vcpu, rip } => {
            format!("KVM gave up on vCPU {vcpu} at {rip:#x}: {detail}")
        }
        vmm::Exit::Stopped => "stopped".into(),
    }
}

impl Report {
    /// The failure, to be told elsewhere.
    pub fn of(error: &anyhow::Error) -> Report {
        Report {
            code: failure::code(error),
            text: failure::text(error),
            hint: failure::hint(error).map(str::to_owned),
        }
    }
}

impl From<Report> for anyhow::Error {
    fn from(report: Report) -> anyhow::Error {
        let failure = Failure::new(report.code, report.text);
        match report.hint {
            Some(hint) => failure.hint(hint).into(),
            None => failure.into(),
        }
    }
}
