//! Operations on a disk's layers while the guest uses it: one at a time, in a thread of its own.

mod snapshot;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use blockdev::{ErrorKind, Pace, Stack, StackSpec};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, chain, kind};
pub(crate) use snapshot::Snapshot;

/// What to do with the layers of a disk. What the guest reads does not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Operation {
    /// Pull everything into the top layer, which then stands on nothing.
    Flatten {},
    /// Stand on these layers instead.
    Rebase {
        /// They have no delta of their own.
        below: StackSpec,
    },
    /// Merge the topmost frozen layer into the one below it.
    Commit {
        /// All layers as they are now.
        chain: StackSpec,
    },
    /// Give back the space of zeroes in the top layer.
    Compact {},
}

/// How far an operation is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What became of it.
    pub phase: Phase,
    /// Bytes of the disk that are dealt with.
    pub done: u64,
    /// Bytes of the disk.
    pub all: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What sort of failure that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ErrorKind>,
    /// What a person may try next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub try_next: Option<String>,
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// There was none yet.
    #[default]
    None,
    /// It is under way.
    Running,
    /// It is done.
    Done,
    /// It failed, or was broken off: everything is as it was.
    Failed,
}

/// The last operation asked for.
#[derive(Debug, Default)]
pub struct Layers {
    job: Arc<Job>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Job {
    done: AtomicU64,
    all: AtomicU64,
    broken_off: AtomicBool,
    /// How it ended, when it has.
    ended: Mutex<Option<blockdev::Result<()>>>,
}

impl Layers {
    /// Begins an operation on the layers of `stack`.
    ///
    /// # Errors
    /// Another one is under way, or the host has no thread for it.
    pub fn begin(&mut self, stack: &Stack, operation: Operation) -> Result<()> {
        if self.status().phase == Phase::Running {
            return Err(Error::LayersBusy);
        }
        self.job = Arc::default();
        let (job, stack) = (Arc::clone(&self.job), stack.clone());
        let thread = thread::Builder::new()
            .name("layers".into())
            .spawn(move || job.end(job.perform(&stack, &operation)));
        self.thread = Some(thread.map_err(Error::host("start a thread for the layers"))?);
        Ok(())
    }

    /// How far the last one is.
    pub fn status(&self) -> Status {
        let all = self.job.all.load(Ordering::Relaxed);
        let status =
            Status { all, done: self.job.done.load(Ordering::Relaxed), ..Status::default() };
        let ended = self.job.ended.lock().unwrap_or_else(PoisonError::into_inner);
        match (&self.thread, &*ended) {
            (None, _) => status,
            (Some(_), None) => Status { phase: Phase::Running, ..status },
            (Some(_), Some(Ok(()))) => Status { phase: Phase::Done, done: all, ..status },
            (Some(_), Some(Err(why))) => status.failed(why),
        }
    }

    /// Breaks off what is under way.
    pub fn break_off(&self) {
        self.job.broken_off.store(true, Ordering::Relaxed);
    }

    /// Breaks off what is under way, and returns when it has ended.
    pub fn end(&mut self) {
        self.break_off();
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, and said so.
            let _ = thread.join();
        }
    }
}

impl Status {
    fn failed(self, why: &blockdev::Error) -> Status {
        let (kind, try_next) = (Some(kind(why)), why.advice().map(str::to_owned));
        Status { phase: Phase::Failed, error: Some(chain(why)), kind, try_next, ..self }
    }
}

impl Job {
    fn perform(&self, stack: &Stack, operation: &Operation) -> blockdev::Result<()> {
        let mut watch = |done, all| {
            self.done.store(done, Ordering::Relaxed);
            self.all.store(all, Ordering::Relaxed);
            match self.broken_off.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        match operation {
            Operation::Flatten {} => stack.flatten(Pace::Beside, &mut watch),
            Operation::Rebase { below } => stack.rebase(below, Pace::Beside, &mut watch),
            Operation::Commit { chain } => stack.commit(chain, Pace::Beside, &mut watch),
            Operation::Compact {} => stack.compact(Pace::Beside, &mut watch).map(drop),
        }
    }

    fn end(&self, result: blockdev::Result<()>) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_written_as_documented() {
        let read = |text: &str| serde_json::from_str::<Operation>(text);
        assert_eq!(read(r#"{"operation":"flatten"}"#).unwrap(), Operation::Flatten {});
        assert_eq!(read(r#"{"operation":"compact"}"#).unwrap(), Operation::Compact {});
        let below = StackSpec::default();
        let rebase = r#"{"operation":"rebase","below":{"base":null,"delta":null}}"#;
        assert_eq!(read(rebase).unwrap(), Operation::Rebase { below });
        read(r#"{"operation":"flatten","hard":true}"#).unwrap_err();
        read(r#"{"operation":"shred"}"#).unwrap_err();
    }

    #[test]
    fn failure_is_told_with_its_kind_and_what_to_try() {
        let why = blockdev::Error::BeingRead { path: "/layers/1/delta".into() };
        let told = serde_json::to_value(Status::default().failed(&why)).unwrap();
        let expected = serde_json::json!({
            "phase": "failed",
            "done": 0,
            "all": 0,
            "error": "/layers/1/delta is being read by another process",
            "kind": "busy",
            "try_next": "wait until it is served or exported no more",
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn monitors_of_other_versions_are_understood() {
        let read = |text: &str| serde_json::from_str::<Status>(text).unwrap();
        let older = read(r#"{"phase":"failed","done":1,"all":2,"error":"why"}"#);
        assert_eq!((older.error.as_deref(), older.kind), (Some("why"), None));
        let newer = r#"{"phase":"failed","done":1,"all":2,"kind":"moonlit","since":3}"#;
        assert_eq!(read(newer).kind, Some(ErrorKind::Io));
    }

    #[test]
    fn nothing_was_asked_for_yet() {
        assert_eq!(Layers::default().status(), Status::default());
        Layers::default().end();
    }
}
