//! Lets writers pass until it is closed, and tells when the last of them has left.
//!
//! A snapshot closes the top layer's gate: who is in finishes, who comes is refused and told when
//! to look again, at what is then another layer.

use std::sync::{Arc, PoisonError};

use crate::io::wakeup::Wakeup;
#[cfg(test)]
use crate::seeded::{Bug, seeded};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// Set in the count of writers while the gate is closed.
const CLOSED: usize = 1 << (usize::BITS - 1);

#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// How many are in, and [`CLOSED`].
    writers: AtomicUsize,
    refused: Mutex<Refused>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct Refused {
    /// Whoever is refused from now on may look again at once.
    over: bool,
    wakers: Vec<Arc<Wakeup>>,
}

/// Being in. Dropped to leave.
#[derive(Debug)]
pub(crate) struct Pass(Arc<Gate>);

impl Gate {
    /// Goes in, or is refused: then `waker` is signalled when there is another way.
    pub(crate) fn enter(self: &Arc<Self>, waker: &Arc<Wakeup>) -> Option<Pass> {
        let before = self.writers.fetch_add(1, Ordering::AcqRel);
        let pass = Pass(Arc::clone(self));
        if before & CLOSED == 0 {
            return Some(pass);
        }
        drop(pass);
        let mut refused = self.refused();
        #[cfg(test)]
        if seeded(Bug::RefusedTooLate) {
            refused.over = false;
        }
        if refused.over || !self.is_closed() {
            waker.signal();
        } else if !refused.wakers.iter().any(|waiting| Arc::ptr_eq(waiting, waker)) {
            refused.wakers.push(Arc::clone(waker));
        }
        None
    }

    /// Refuses everybody from now on, and returns when nobody is in.
    pub(crate) fn close(&self) {
        #[cfg(test)]
        if seeded(Bug::GateStaysOpen) {
            return;
        }
        self.writers.fetch_or(CLOSED, Ordering::AcqRel);
        let mut refused = self.refused();
        while self.writers.load(Ordering::Acquire) != CLOSED {
            refused = self.left.wait(refused).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets everybody in again.
    pub(crate) fn open(&self) {
        self.writers.fetch_and(!CLOSED, Ordering::AcqRel);
        for waker in self.refused().wakers.drain(..) {
            waker.signal();
        }
    }

    fn is_closed(&self) -> bool {
        self.writers.load(Ordering::Acquire) & CLOSED != 0
    }

    /// There is another way: tells those who were refused, and who will be. It stays closed.
    pub(crate) fn leave_closed(&self) {
        let mut refused = self.refused();
        refused.over = true;
        for waker in refused.wakers.drain(..) {
            waker.signal();
        }
    }

    fn refused(&self) -> MutexGuard<'_, Refused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.0.writers.fetch_sub(1, Ordering::AcqRel) == CLOSED | 1 {
            // Under the lock, so that it does not fall between a closer's look and its wait.
            #[cfg(not(test))]
            let _refused = self.0.refused();
            #[cfg(test)]
            let _refused = (!seeded(Bug::LeavesUnseen)).then(|| self.0.refused());
            self.0.left.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn closing_waits_for_those_who_are_in() {
        let gate = Arc::new(Gate::default());
        let waker = Arc::new(Wakeup::new().unwrap());
        let pass = gate.enter(&waker).unwrap();
        let (closed, is_closed) = mpsc::channel();
        thread::scope(|scope| {
            let gate = &gate;
            scope.spawn(move || {
                gate.close();
                closed.send(()).unwrap();
            });
            while gate.enter(&waker).is_some() {
                thread::yield_now();
            }
            assert!(is_closed.try_recv().is_err(), "somebody is in");
            drop(pass);
            is_closed.recv().unwrap();
        });
        assert!(gate.enter(&waker).is_none());
    }

    #[test]
    fn an_opened_gate_lets_those_in_whom_it_refused() {
        let gate = Arc::new(Gate::default());
        let waker = Arc::new(Wakeup::new().unwrap());
        gate.close();
        assert!(gate.enter(&waker).is_none());
        gate.open();
        waker.wait();
        assert!(gate.enter(&waker).is_some());
    }

    #[test]
    fn who_asks_again_and_again_is_remembered_once() {
        let gate = Arc::new(Gate::default());
        let waker = Arc::new(Wakeup::new().unwrap());
        gate.close();
        assert!((0..100).all(|_| gate.enter(&waker).is_none()));
        assert_eq!(gate.refused().wakers.len(), 1);
    }

    #[test]
    fn those_who_were_refused_are_woken() {
        let gate = Arc::new(Gate::default());
        let waker = Arc::new(Wakeup::new().unwrap());
        gate.close();
        assert!(gate.enter(&waker).is_none());
        gate.leave_closed();
        waker.wait();
        waker.clear();
        assert!(gate.enter(&waker).is_none());
        waker.wait();
    }
}
