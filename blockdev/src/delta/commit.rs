//! Makes the flushes of all queues share their commits.

use std::sync::PoisonError;

use crate::Result;
#[cfg(test)]
use crate::seeded::{Bug, seeded};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// Commits are numbered from 1 in the order they begin; one runs at a time.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    /// The last one begun.
    begun: u64,
    /// The last one that ended well.
    succeeded: u64,
}

impl Commits {
    /// Returns when a commit that began after this call has ended well, or with the error of one
    /// that this caller ran itself. `commit` runs in whichever caller comes first.
    ///
    /// A commit that has begun already may have taken its snapshot before the caller's writes
    /// completed, so it does not count. One that failed says nothing to those who waited for it:
    /// each tries for itself.
    pub(crate) fn join(&self, commit: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut state = self.state();
        let wanted = state.begun + 1;
        #[cfg(test)]
        let wanted = wanted - u64::from(state.running && seeded(Bug::JoinsRunningCommit));
        #[cfg(test)]
        let wanted = if seeded(Bug::CommitsAlone) { u64::MAX } else { wanted };
        loop {
            if state.succeeded >= wanted {
                return Ok(());
            }
            if !state.running {
                break;
            }
            #[cfg(test)]
            if seeded(Bug::FlushDoesNotWait) {
                return Ok(());
            }
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.running = true;
        state.begun += 1;
        let number = state.begun;
        drop(state);
        let result = commit();
        let mut state = self.state();
        state.running = false;
        if result.is_ok() {
            state.succeeded = number;
        }
        drop(state);
        self.ended.notify_all();
        result
    }

    /// How many wait for a commit to end.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.ended.waiting()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::Error;

    /// Starts a commit that ends when told to, and `waiters` that arrive while it runs.
    fn storm(waiters: usize, first: Result<()>) -> (usize, usize) {
        let commits = Commits::default();
        let (runs, errors) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (begun, has_begun) = mpsc::channel();
        let (end, may_end) = mpsc::channel();
        thread::scope(|scope| {
            let (commits, errors, runs) = (&commits, &errors, &runs);
            scope.spawn(move || {
                let result = commits.join(|| {
                    begun.send(()).unwrap();
                    may_end.recv().unwrap();
                    first
                });
                errors.fetch_add(usize::from(result.is_err()), Ordering::Relaxed);
            });
            has_begun.recv().unwrap();
            for _ in 0..waiters {
                scope.spawn(move || {
                    commits
                        .join(|| {
                            runs.fetch_add(1, Ordering::Relaxed);
                            Ok(())
                        })
                        .unwrap();
                });
            }
            end.send(()).unwrap();
        });
        (runs.into_inner(), errors.into_inner())
    }

    #[test]
    fn a_running_commit_does_not_count_for_those_who_come_later() {
        let (runs, errors) = storm(1, Ok(()));
        assert_eq!((runs, errors), (1, 0));
    }

    #[test]
    fn a_failed_commit_is_an_error_for_its_own_caller_only() {
        let (runs, errors) = storm(3, Err(Error::ReadOnly));
        assert!((1..=3).contains(&runs));
        assert_eq!(errors, 1);
    }

    #[test]
    fn flushes_that_wait_share_the_next_commit() {
        let commits = Commits::default();
        // Two callers that both came before commit 1 began: the second finds it done.
        commits.state().begun = 4;
        commits.state().succeeded = 5;
        commits.join(|| panic!("commit 5 has covered this one")).unwrap();
    }
}
