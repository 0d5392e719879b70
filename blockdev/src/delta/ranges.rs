//! Locks on ranges of blocks, for writes that take ownership.
//!
//! Nobody blocks on one. Who does not get it is woken when any is released, and tries again: so a
//! disk's worker never waits for another disk's I/O, and there is no order to get wrong.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

use crate::io::wakeup::Wakeup;
#[cfg(test)]
use crate::seeded::{Bug, seeded};
use crate::sync::{Mutex, MutexGuard};

/// The ranges held at the moment; they are disjoint.
#[derive(Debug, Default)]
pub(crate) struct RangeLocks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Start to end.
    held: BTreeMap<u64, u64>,
    waiting: Vec<Arc<Wakeup>>,
}

/// Holds a range until dropped.
#[derive(Debug)]
pub(crate) struct RangeGuard {
    locks: Arc<RangeLocks>,
    start: u64,
}

impl RangeLocks {
    /// Takes `range` unless part of it is held; then `waker` is signalled after a release.
    pub(crate) fn try_lock(
        self: &Arc<Self>,
        range: Range<u64>,
        waker: &Arc<Wakeup>,
    ) -> Option<RangeGuard> {
        #[cfg(test)]
        let range = if seeded(Bug::NoRangeLock) { 0..0 } else { range };
        let mut state = self.state();
        let before = state.held.range(..range.end).next_back();
        if before.is_some_and(|(_, &end)| end > range.start) {
            if !state.waiting.iter().any(|waiting| Arc::ptr_eq(waiting, waker)) {
                state.waiting.push(Arc::clone(waker));
            }
            return None;
        }
        state.held.insert(range.start, range.end);
        Some(RangeGuard { locks: Arc::clone(self), start: range.start })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RangeGuard {
    fn drop(&mut self) {
        let mut state = self.locks.state();
        state.held.remove(&self.start);
        #[cfg(test)]
        if seeded(Bug::ReleaseWakesNobody) {
            return;
        }
        for waker in state.waiting.drain(..) {
            waker.signal();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_overlapping_ranges_exclude_each_other() {
        let locks = Arc::new(RangeLocks::default());
        let waker = Arc::new(Wakeup::new().unwrap());
        let _middle = locks.try_lock(10..20, &waker).unwrap();
        for free in [0..10, 20..30] {
            assert!(locks.try_lock(free, &waker).is_some());
        }
        for taken in [0..11, 10..20, 12..13, 19..30, 0..30] {
            assert!(locks.try_lock(taken, &waker).is_none());
        }
    }

    #[test]
    fn a_release_wakes_those_who_were_refused() {
        let locks = Arc::new(RangeLocks::default());
        let wakers: Vec<_> = (0..2).map(|_| Arc::new(Wakeup::new().unwrap())).collect();
        let held = locks.try_lock(0..4, &wakers[0]).unwrap();
        for waker in &wakers {
            assert!(locks.try_lock(2..3, waker).is_none());
        }
        drop(held);
        wakers.iter().for_each(|waker| waker.wait());
        assert!(locks.try_lock(2..3, &wakers[1]).is_some());
    }
}
