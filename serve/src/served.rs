//! The disk that is served, and who is told when there is no room for what its clients write.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use blockdev::{Disk, Done, Engine, ErrorKind, Op, Result, Stack, Tag};

/// Is told of each write and flush that found no room; from the threads that serve.
pub type OnFull = Arc<dyn Fn(&blockdev::Error) + Send + Sync>;

/// A disk of layers for clients.
#[derive(Clone)]
pub struct Served {
    pub(crate) stack: Stack,
    on_full: OnFull,
}

impl Served {
    /// `stack`, with `on_full` to be told.
    #[must_use]
    pub fn new(stack: &Stack, on_full: OnFull) -> Served {
        Served { stack: stack.clone(), on_full }
    }

    /// A queue to it.
    ///
    /// # Errors
    /// There is no engine for another one.
    pub(crate) fn disk(&self) -> Result<Box<dyn Disk>> {
        let (disk, on_full) = (self.stack.disk(Engine::Auto)?, self.on_full.clone());
        Ok(Box::new(Watched { disk, on_full }))
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("stack", &self.stack).finish_non_exhaustive()
    }
}

/// A disk whose full filesystem is told of.
struct Watched {
    disk: Box<dyn Disk>,
    on_full: OnFull,
}

impl Disk for Watched {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_only(&self) -> bool {
        self.disk.read_only()
    }

    fn submit(&mut self, op: Op, tag: Tag) {
        self.disk.submit(op, tag);
    }

    fn poll(&mut self, done: &mut Vec<Done>) -> Result<()> {
        let before = done.len();
        let polled = self.disk.poll(done);
        let errors = done[before..].iter().filter_map(|done| done.result.as_ref().err());
        errors.filter(|error| error.kind() == ErrorKind::NoSpace).for_each(|it| (self.on_full)(it));
        polled
    }

    fn wakeup(&self) -> BorrowedFd<'_> {
        self.disk.wakeup()
    }

    fn in_flight(&self) -> usize {
        self.disk.in_flight()
    }
}
