//! What happens in a store, as lines of JSON that commands and monitors append to one file:
//! docs/events.md. Telling never fails: what happened has happened.

mod read;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::Serialize;
use serde_json::{Map, Value};

use super::paths::PLAIN;
use super::time::Timestamp;
use super::{Store, Vm};

pub use read::Events;

/// The file's name in the store's root.
const FILE: &str = "events.jsonl";
/// What it is renamed to once it is long.
const OLD: &str = "events.jsonl.1";
/// A line's bytes at most, its newline included.
const LONGEST: usize = 4096;
/// A file of so many bytes is long.
const ENOUGH: u64 = 4 << 20;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    keys: Map<String, Value>,
    details: Map<String, Value>,
}

impl Event {
    /// Something happened now.
    pub fn new(event: &str) -> Event {
        let mut keys = Map::new();
        keys.insert("time".into(), Timestamp::now().to_string().into());
        keys.insert("event".into(), event.into());
        Event { keys, details: Map::new() }
    }

    /// Something happened to a VM.
    pub fn of_vm(event: &str, name: &str, id: &str) -> Event {
        Event::new(event).key("vm", name).key("id", id)
    }

    /// Something happened to an image.
    pub fn of_image(event: &str, name: &str, digest: &str) -> Event {
        Event::new(event).key("image", name).key("digest", digest)
    }

    fn key(mut self, key: &str, value: &str) -> Event {
        self.keys.insert(key.into(), value.into());
        self
    }

    /// Adds a detail.
    pub fn with<T: Serialize>(mut self, key: &str, value: T) -> Event {
        match serde_json::to_value(value) {
            Ok(value) => drop(self.details.insert(key.into(), value)),
            Err(error) => log::debug!("an event's {key} cannot be told: {error}"),
        }
        self
    }

    fn line(self) -> Vec<u8> {
        let Event { keys, details } = self;
        let text = |map: Map<String, Value>| (Value::from(map).to_string() + "\n").into_bytes();
        let mut all = keys.clone();
        all.extend(details);
        let line = text(all);
        if line.len() <= LONGEST {
            return line;
        }
        let mut cut = keys;
        cut.insert("cut".into(), true.into());
        text(cut)
    }
}

/// That a VM was made.
pub(super) fn created(vm: &Vm) -> Event {
    let record = &vm.record;
    Event::of_vm("created", record.name.as_str(), &record.id()).with("image", &record.image)
}

/// Tells what happened in the store at `root`.
pub fn tell(root: &Path, events: impl IntoIterator<Item = Event>) {
    let mut events = events.into_iter().peekable();
    if events.peek().is_none() {
        return;
    }
    let write = || {
        let log = open(root)?;
        let torn = is_torn(&log)?;
        for (n, event) in events.enumerate() {
            let mut line = event.line();
            if torn && n == 0 {
                line.insert(0, b'\n');
            }
            (&log).write_all(&line)?;
        }
        rotate(root, &log)
    };
    if let Err(error) = write() {
        log::debug!("what happened cannot be told: {error}");
    }
}

/// The file, locked so that it keeps its name.
fn open(root: &Path) -> io::Result<File> {
    let path = root.join(FILE);
    loop {
        let mut options = File::options();
        options.read(true).append(true).create(true).mode(0o600).custom_flags(PLAIN);
        let log = options.open(&path)?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&log, FlockOperation::LockShared))?;
        if is_named(&log, &path)? {
            return Ok(log);
        }
    }
}

/// Whether an open file is the one of this name.
fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let mine = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (mine.dev(), mine.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the last line is not whole: there was no room, or a crash.
fn is_torn(log: &File) -> io::Result<bool> {
    let mut last = [b'\n'];
    if let Some(at) = log.metadata()?.len().checked_sub(1) {
        // A line may be on its way in this moment; at worst there is an empty one.
        let _ = log.read_at(&mut last, at)?;
    }
    Ok(last != *b"\n")
}

/// Gives a long file its other name, unless somebody writes to it: then the next one does.
fn rotate(root: &Path, log: &File) -> io::Result<()> {
    if log.metadata()?.len() < ENOUGH
        || rustix::fs::flock(log, FlockOperation::NonBlockingLockExclusive).is_err()
    {
        return Ok(());
    }
    // The lock was let go of for a moment when it was made exclusive.
    let path = root.join(FILE);
    if is_named(log, &path)? { fs::rename(path, old(root)) } else { Ok(()) }
}

impl Store {
    /// Tells that something happened to a VM.
    pub(super) fn tell_of(&self, vm: &Vm, event: &str, details: impl FnOnce(Event) -> Event) {
        let event = Event::of_vm(event, vm.record.name.as_str(), &vm.record.id());
        tell(self.paths.root(), [details(event)]);
    }
}

fn old(root: &Path) -> PathBuf {
    root.join(OLD)
}

#[cfg(test)]
mod tests;
