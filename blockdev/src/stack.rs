//! A stack of layers as one disk.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Once, PoisonError, TryLockError};

use serde::{Deserialize, Serialize};

use crate::base::Base;
use crate::chain::Chain;
use crate::io::sync::SyncDisk;
use crate::io::uring::{Ring, UringDisk};
use crate::io::worker::Worker;
use crate::layers::Layers;
use crate::sync::{Mutex, MutexGuard};
use crate::{Disk, Error, Result};
use current::{Current, View};

pub(crate) mod current;
mod snapshot;

pub use extents::Extent;

mod extents;

/// What a stack is made of. The store knows format and place of every layer; nothing inside a
/// layer is followed to find another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackSpec {
    /// The image at the bottom; none where a layer needs nothing below it.
    pub base: Option<Base>,
    /// The frozen layers on it, from the bottom up.
    #[serde(default)]
    pub frozen: Vec<PathBuf>,
    /// Where the frozen layers' merged owner map is kept; made when it is missing or stale.
    #[serde(default)]
    pub owners: Option<PathBuf>,
    /// The writable layer on top; without one the disk is read-only.
    pub delta: Option<PathBuf>,
    /// What is written to the delta is not to outlast the stack: flushes and closing make nothing
    /// durable, and it is as empty to the next who opens it. Snapshots and operations on layers are
    /// as durable as ever, and the delta keeps what they took up.
    #[serde(default)]
    pub ephemeral: bool,
}

/// How bytes are moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// io_uring where the host allows it, else synchronous with a line in the log.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// preadv and pwritev, finished inside `submit`.
    Sync,
}

/// Open layers, shared by the disks made from it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stack {
    pub(crate) current: Arc<Current>,
    /// Held by whoever changes which layers there are.
    changing: Arc<Mutex<()>>,
    /// Started with the first io_uring disk that can be written.
    worker: Arc<Mutex<Option<Arc<Worker>>>>,
}

impl Stack {
    /// Opens and locks every layer and checks that each belongs to the next.
    ///
    /// # Errors
    /// A layer is missing, damaged, locked by another process, or not the one it was.
    pub fn open(spec: &StackSpec) -> Result<Stack> {
        let chain = Chain::open(spec)?;
        let owners = chain.owners(spec.owners.as_deref())?;
        Ok(Stack::over(Layers::new(chain, owners)))
    }

    /// Puts a delta in `delta` over the frozen ones in `frozen` over a base in `base`, which is
    /// what `spec` says.
    ///
    /// # Errors
    /// As [`open`](Stack::open), but for what concerns the files themselves.
    #[cfg(any(test, feature = "test-support"))]
    pub fn from_storages(
        spec: &Base,
        base: Arc<dyn crate::io::Storage>,
        frozen: &[Arc<dyn crate::io::Storage>],
        delta: Option<Arc<dyn crate::io::Storage>>,
    ) -> Result<Stack> {
        let chain = Chain::load(Some((spec, base)), frozen, delta)?;
        let owners = chain.owners(None)?;
        Ok(Stack::over(Layers::new(chain, owners)))
    }

    pub(crate) fn over(layers: Layers) -> Stack {
        let current = Current::new(layers);
        Stack { current, changing: Arc::default(), worker: Arc::default() }
    }

    /// Opens a stack whose top is frozen, to merge layers below into that. Others may have it open
    /// to read.
    pub(crate) fn open_frozen(spec: &StackSpec) -> Result<Stack> {
        let chain = Chain::open_frozen(spec)?;
        let owners = chain.owners(spec.owners.as_deref())?;
        Ok(Stack::over(Layers::new(chain, owners)))
    }

    /// Leave to change which layers there are.
    pub(crate) fn change(&self) -> Result<MutexGuard<'_, ()>> {
        match self.changing.try_lock() {
            Ok(guard) => Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                let layers = self.current.get();
                Err(Error::Changing { path: layers.top()?.path().into() })
            }
        }
    }

    /// The disk's length in bytes, a multiple of 512.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.current.get().size()
    }

    /// Whether writes are refused.
    #[must_use]
    pub fn read_only(&self) -> bool {
        self.current.get().read_only()
    }

    /// Makes every write durable that any of the disks has returned as done. Waits for it.
    ///
    /// # Errors
    /// As for [`Op::Flush`](crate::Op::Flush).
    pub fn flush(&self) -> Result<()> {
        self.current.get().flush()
    }

    /// Gives the writable layer up, which is to be removed: every later write fails, and closing
    /// it does not wait for what has been written.
    pub fn abandon(&self) {
        if let Ok(delta) = self.current.get().delta() {
            delta.abandon();
        }
    }

    /// A disk for one queue, on this stack.
    ///
    /// # Errors
    /// The engine asked for is not to be had.
    pub fn disk(&self, engine: Engine) -> Result<Box<dyn Disk>> {
        if engine == Engine::Sync {
            return Ok(Box::new(SyncDisk::new(View::new(&self.current))?));
        }
        let view = View::new(&self.current);
        match Ring::new(&view) {
            Ok(ring) => Ok(Box::new(UringDisk::new(view, self.worker()?, ring))),
            Err(error) if engine == Engine::Auto && not_allowed(&error) => {
                static SAID: Once = Once::new();
                SAID.call_once(|| log::warn!("io_uring is not to be had ({error}), going without"));
                self.disk(Engine::Sync)
            }
            Err(source) => Err(Error::Engine { what: "io_uring", source }),
        }
    }

    /// Bytes of memory that knowing where everything is takes: the bitmap and the owner map.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.current.get().memory()
    }

    fn worker(&self) -> Result<Option<Arc<Worker>>> {
        if self.read_only() {
            return Ok(None);
        }
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        if worker.is_none() {
            *worker = Some(Arc::new(Worker::start()?));
        }
        Ok(worker.clone())
    }
}

/// Whether the host has no io_uring, forbids it, or grants it no memory.
fn not_allowed(error: &io::Error) -> bool {
    let known = [libc::ENOSYS, libc::EPERM, libc::EACCES, libc::ENOMEM];
    error.kind() == io::ErrorKind::Unsupported
        || error.raw_os_error().is_some_and(|error| known.contains(&error))
}

#[cfg(test)]
mod tests;
