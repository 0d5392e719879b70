//! One thread per stack for what would make an io_uring disk wait: flushes, discards, and writes
//! that have to copy up first.
//!
//! It runs the synchronous engine's code. Range locks are taken before a job gets here, so a job
//! waits for files only and always ends.

use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};

use super::wakeup::Wakeup;
use crate::delta::Permit;
use crate::layers::Layers;
#[cfg(test)]
use crate::seeded::{Bug, seeded};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::mpsc::{self, Receiver, Sender};
use crate::{Done, Error, Op, Result, Tag};

/// The job runs the block code of this crate and nothing deeper.
const STACK_BYTES: usize = 128 * 1024;

/// Something to do, and who wants to know.
pub(crate) struct Job {
    pub(crate) op: Op,
    pub(crate) tag: Tag,
    pub(crate) permit: Option<Permit>,
    pub(crate) layers: Arc<Layers>,
    pub(crate) inbox: Arc<Inbox>,
}

/// Where a disk finds what the worker has done for it.
#[derive(Debug)]
pub(crate) struct Inbox {
    done: Mutex<Vec<Done>>,
    /// Jobs given to the worker and not taken back yet.
    expected: AtomicUsize,
    wakeup: Arc<Wakeup>,
}

impl Inbox {
    pub(crate) fn new(wakeup: Arc<Wakeup>) -> Arc<Self> {
        Arc::new(Inbox { done: Mutex::default(), expected: AtomicUsize::new(0), wakeup })
    }

    /// How many jobs are still to be taken back.
    pub(crate) fn expected(&self) -> usize {
        self.expected.load(Ordering::Relaxed)
    }

    /// Moves what has been done to `done`.
    pub(crate) fn take(&self, done: &mut Vec<Done>) {
        if self.expected() == 0 {
            return;
        }
        let mut ours = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        self.expected.fetch_sub(ours.len(), Ordering::Relaxed);
        done.append(&mut ours);
    }

    fn put(&self, done: Done) {
        #[cfg(test)]
        if seeded(Bug::DoneTooLate) {
            self.wakeup.signal();
            return self.done.lock().unwrap_or_else(PoisonError::into_inner).push(done);
        }
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(done);
        self.wakeup.signal();
    }
}

/// The thread. It ends when this is dropped, after all jobs.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn start() -> Result<Self> {
        let (jobs, receiver) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("blockdev".into())
            .stack_size(STACK_BYTES)
            .spawn(move || serve(&receiver))
            .map_err(|source| Error::Engine { what: "a thread", source })?;
        Ok(Worker { jobs: Some(jobs), thread: Some(thread) })
    }

    /// One without a thread, and what its thread is to do.
    #[cfg(test)]
    pub(crate) fn apart() -> (Self, impl FnOnce() + Send) {
        let (jobs, receiver) = mpsc::channel();
        (Worker { jobs: Some(jobs), thread: None }, move || serve(&receiver))
    }

    pub(crate) fn give(&self, job: Job) {
        job.inbox.expected.fetch_add(1, Ordering::Relaxed);
        let jobs = self.jobs.as_ref().expect("the sender lives as long as the worker");
        jobs.send(job).expect("the thread lives as long as a sender");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, and said so.
            let _ = thread.join();
        }
    }
}

/// Takes all jobs that are there; their flushes are one flush, after the rest.
fn serve(jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let batch = std::iter::once(first).chain(jobs.try_iter());
        let (flushes, others): (Vec<Job>, Vec<Job>) =
            batch.partition(|job| matches!(job.op, Op::Flush));
        for job in others {
            let result = job.layers.perform(&job.op, job.permit);
            job.inbox.put(Done { tag: job.tag, result, buffers: job.op.into_buffers() });
        }
        let mut flushed: Option<Arc<Layers>> = None;
        for job in flushes {
            // One that failed says nothing about the next.
            let done = flushed.as_ref().is_some_and(|done| Arc::ptr_eq(done, &job.layers));
            let result = if done { Ok(()) } else { job.layers.flush() };
            flushed = result.is_ok().then_some(job.layers);
            job.inbox.put(Done { tag: job.tag, result, buffers: None });
        }
    }
}
