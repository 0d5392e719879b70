//! The synchronous engine: everything is done inside `submit`.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::wakeup::Wakeup;
use crate::stack::current::View;
use crate::{Disk, Done, Error, Op, Result, Tag};

/// A disk that moves bytes with preadv and pwritev.
#[derive(Debug)]
pub(crate) struct SyncDisk {
    layers: View,
    wakeup: Arc<Wakeup>,
    /// Waiting for somebody else's range lock, oldest first.
    parked: VecDeque<(Op, Tag)>,
    done: Vec<Done>,
}

impl SyncDisk {
    pub(crate) fn new(layers: View) -> Result<Self> {
        let wakeup =
            Wakeup::new().map_err(|source| Error::Engine { what: "an eventfd", source })?;
        let wakeup = Arc::new(wakeup);
        layers.watch(&wakeup);
        Ok(SyncDisk { layers, wakeup, parked: VecDeque::new(), done: Vec::new() })
    }

    /// Does `op`, or gives it back where it has to wait.
    fn start(&mut self, op: Op, tag: Tag) -> Option<Op> {
        self.layers.refresh();
        let permit = match op.written() {
            None => Ok(None),
            Some(range) => match self.layers.permit(&range, &self.wakeup) {
                Ok(None) => return Some(op),
                other => other,
            },
        };
        let result = permit.and_then(|permit| self.layers.perform(&op, permit));
        self.done.push(Done { tag, result, buffers: op.into_buffers() });
        None
    }
}

impl Disk for SyncDisk {
    fn size(&self) -> u64 {
        self.layers.size()
    }

    fn read_only(&self) -> bool {
        self.layers.read_only()
    }

    fn submit(&mut self, op: Op, tag: Tag) {
        if let Err(error) = self.layers.check(&op) {
            self.done.push(Done { tag, result: Err(error), buffers: op.into_buffers() });
        } else if let Some(op) = self.start(op, tag) {
            self.parked.push_back((op, tag));
        }
    }

    fn poll(&mut self, done: &mut Vec<Done>) -> Result<()> {
        self.layers.refresh();
        // A signal may come after what was parked has got its turn some other way.
        if !self.parked.is_empty() || self.done.is_empty() {
            self.wakeup.clear();
            for (op, tag) in std::mem::take(&mut self.parked) {
                if let Some(op) = self.start(op, tag) {
                    self.parked.push_back((op, tag));
                }
            }
        }
        done.append(&mut self.done);
        Ok(())
    }

    fn wakeup(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }

    fn in_flight(&self) -> usize {
        self.parked.len() + self.done.len()
    }
}
