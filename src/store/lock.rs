//! The `lock` file of a VM: held by its monitor for as long as that lives, and so the only truth
//! on whether the VM runs. Its content says who signed it last. Who holds it unsigned, a command at
//! work on a VM that does not run, the lock itself tells: nobody takes that for the last monitor,
//! whose number may be another process's by now.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::ofd::{self, Held};
use super::paths::PLAIN;
use super::time::Timestamp;
use crate::failure::Failure;

/// The lock's name in a VM's directory.
const FILE: &str = "lock";
/// How often a lock is looked at that changes hands each time.
const GLANCES: u32 = 100;
/// More than any signature has bytes.
const LONGEST: u64 = 4096;

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process that answers for the VM.
    pub pid: u32,
    /// How far it came.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// Where the VM's sockets are.
    pub sockets: PathBuf,
}

impl Holder {
    /// This process, from now on.
    pub fn this_process(phase: Phase, sockets: PathBuf) -> Holder {
        Holder { pid: std::process::id(), phase, since: Timestamp::now(), sockets }
    }
}

/// What a lock's holder does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It prepares; the guest has not run yet.
    Starting,
    /// It runs the guest.
    Running,
    /// It has the disk, for other programs.
    Serving,
}

/// A VM's lock, held. Dropping it, or the end of the process, gives it back.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of the VM in `dir`, or says who has it.
    ///
    /// # Errors
    /// It is held, or there is no such directory (any more).
    pub fn take(dir: &Path) -> Result<Lock> {
        Lock::take_by(dir, |file| ofd::try_alone(file, std::process::id()))
    }

    /// Takes the lock of the VM in `dir` together with others who only read its disk. The file is not
    /// theirs to sign: who they are the locks themselves say.
    ///
    /// # Errors
    /// Somebody has it alone, or there is no such directory (any more).
    pub fn share(dir: &Path) -> Result<Lock> {
        Lock::take_by(dir, |file| ofd::try_shared(file, std::process::id()))
    }

    fn take_by(dir: &Path, attempt: impl Fn(&File) -> io::Result<bool>) -> Result<Lock> {
        let path = dir.join(FILE);
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(PLAIN)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let mut glances = 0..GLANCES;
        while !attempt(&file).context("cannot lock it")? {
            let by = see(&mut file)?;
            // Else it was given back between the two.
            if by.held || glances.next().is_none() {
                return Err(in_use(&by));
            }
        }
        // `rm` may have moved the directory away between the two lines above.
        let mine = file.metadata()?.ino();
        match path.metadata() {
            Ok(found) if found.ino() == mine => Ok(Lock { file }),
            _ => Err(Failure::not_found("it was removed meanwhile").into()),
        }
    }

    /// Takes over a lock that the process which opened the file took.
    pub fn inherit(file: OwnedFd) -> Lock {
        Lock { file: file.into() }
    }

    /// Says who holds the lock, to whoever reads the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn sign(&mut self, holder: &Holder) -> Result<()> {
        let signed = self.write(serde_json::to_string(holder)?.as_bytes());
        signed.and_then(|()| ofd::hide_number(&self.file)).context("cannot write the lock file")
    }

    /// Takes the signature back: nothing was run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn unsign(&mut self) -> io::Result<()> {
        self.restore(b"")
    }

    /// What the file says before it is signed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn signature(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        self.file.rewind()?;
        (&self.file).take(LONGEST).read_to_end(&mut text)?;
        Ok(text)
    }

    /// Makes it say again what it said before.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn restore(&mut self, signature: &[u8]) -> io::Result<()> {
        ofd::show_number(&self.file, std::process::id())?;
        self.write(signature)
    }

    fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(content)
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn in_use(by: &Seen) -> anyhow::Error {
    if let Some(worker) = by.worker {
        let what = format!("another command is at work on it (process {worker})");
        return Failure::in_use(what).hint("wait for its end").into();
    }
    let holder = by.holder.as_ref().filter(|_| by.held);
    let (what, pid) = match (by.readers.first(), holder) {
        (Some(reader), _) => ("its disk is being read", Some(*reader)),
        (None, Some(Holder { phase: Phase::Serving, pid, .. })) => {
            ("its disk is being served", Some(*pid))
        }
        (None, Some(holder)) => ("it is running", Some(holder.pid)),
        (None, None) => ("another command is at work on it", None),
    };
    let by = pid.map_or(String::new(), |pid| format!(" (process {pid})"));
    Failure::in_use(format!("{what}{by}")).into()
}

/// What a lock file says, read without touching the lock.
#[derive(Debug)]
pub struct Seen {
    /// Whether somebody holds it.
    pub held: bool,
    /// Who signed last; `None` where nobody has, or those who hold it have not.
    pub holder: Option<Holder>,
    /// The process that holds it and has not signed it.
    pub worker: Option<u32>,
    /// The processes that hold it together, to read the disk.
    pub readers: Vec<u32>,
}

/// Looks at the lock of the VM in `dir`.
///
/// # Errors
/// The file exists and cannot be read.
pub fn look(dir: &Path) -> Result<Seen> {
    match open(dir)? {
        Some(mut file) => see(&mut file).with_context(|| format!("cannot query {}", dir.display())),
        None => Ok(Seen { held: false, holder: None, worker: None, readers: Vec::new() }),
    }
}

/// Who signed the lock of the VM in `dir` last, whoever holds it now.
///
/// # Errors
/// The file exists and cannot be read.
pub fn last_holder(dir: &Path) -> Result<Option<Holder>> {
    open(dir)?.map_or(Ok(None), |mut file| read(&mut file))
}

fn open(dir: &Path) -> Result<Option<File>> {
    let path = dir.join(FILE);
    match File::options().read(true).custom_flags(PLAIN).open(&path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot open {}", path.display())),
    }
}

fn see(file: &mut File) -> Result<Seen> {
    for _ in 0..GLANCES {
        let Some(mut readers) = ofd::numbers(file)? else {
            let holder = read(file)?;
            return Ok(Seen { held: true, holder, worker: None, readers: Vec::new() });
        };
        let (held, worker) = match (readers.is_empty(), ofd::held(file)?) {
            (true, Held::Free) => (false, None),
            (false, Held::Shared) => (true, None),
            (false, Held::Alone) => (true, readers.pop()),
            // It changed hands between the two questions.
            (true, Held::Shared | Held::Alone) | (false, Held::Free) => continue,
        };
        let readers = if worker.is_some() { Vec::new() } else { readers };
        let holder = if held { None } else { read(file)? };
        return Ok(Seen { held, holder, worker, readers });
    }
    Ok(Seen { held: true, holder: None, worker: None, readers: Vec::new() })
}

/// What is written in the file, whole or not at all: it may be read while it is written.
fn read(file: &mut File) -> Result<Option<Holder>> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn whoever_takes_it_and_gives_it_back_is_taken_for_nobody_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let monitor = Holder::this_process(Phase::Running, dir.path().to_owned());
        Lock::take(dir.path()).and_then(|mut lock| lock.sign(&monitor)).expect("signed");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    drop(Lock::take(dir.path()));
                }
            });
            let look = || look(dir.path()).expect("it can be read");
            let wrong = |it: &Seen| it.held && it.holder.is_some() || !it.readers.is_empty();
            let mistaken = (0..20_000).map(|_| look()).find(wrong);
            let refused = (0..20_000).filter_map(|_| Lock::take(dir.path()).err());
            let wrong = refused.map(|error| error.to_string()).find(|it| it.contains("is running"));
            done.store(true, Ordering::Relaxed);
            assert!(mistaken.is_none() && wrong.is_none(), "{mistaken:?}, {wrong:?}");
        });
    }
}
