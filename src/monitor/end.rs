//! `exit.json`: how a VM ended the last time it ran. While it runs there is `exit.json.spare`, which
//! becomes that: on a filesystem its guest has filled up there is no room for another file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::failure::{self, Code, Failure};
use crate::store::{Timestamp, paths};

/// The record's name in a VM's directory.
const FILE: &str = "exit.json";
/// What it is called before it says anything.
const SPARE: &str = "exit.json.spare";
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
        let text = serde_json::to_vec(self)?;
        let saved = fill_spare(dir, &text).or_else(|_| paths::replace(&path, &text));
        saved.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Takes the record of the run before away, and keeps room for that of the next.
    ///
    /// # Errors
    /// It is there and cannot be removed.
    pub fn clear(dir: &Path) -> Result<()> {
        match fs::rename(dir.join(FILE), dir.join(SPARE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => keep_spare(dir),
            cleared => return cleared.context("cannot remove the record of its last run"),
        }
        Ok(())
    }
}

/// Keeps room where there is some: one block.
fn keep_spare(dir: &Path) {
    let kept = File::create_new(dir.join(SPARE)).and_then(|mut spare| spare.write_all(b"\n"));
    if let Err(error) = kept {
        log::debug!("no room is kept for how it ends: {error}");
    }
}

/// Writes what came of a run into the room that was kept for it.
fn fill_spare(dir: &Path, text: &[u8]) -> io::Result<()> {
    let spare = dir.join(SPARE);
    let mut file = File::options().write(true).custom_flags(paths::PLAIN).open(&spare)?;
    file.write_all(text)?;
    // Not before: what was cut off would be somebody else's at once.
    file.set_len(text.len() as u64)?;
    file.sync_data()?;
    fs::rename(&spare, dir.join(FILE))
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
