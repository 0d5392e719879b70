//! std's locks and atomics, which leave it to shuttle who goes on where a schedule is being tried.
//!
//! Shuttle's own work nowhere else; with these the same build of the tests does both. Everybody who
//! waits looks again whenever anything has happened, but for what was to wake it: the lock free, the
//! condition variable notified, the descriptor readable. So a wakeup that the code forgets is not
//! made good, and where all wait shuttle says so.

pub(crate) mod mpsc;

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{self, LockResult, PoisonError, TryLockError, TryLockResult};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shuttle::thread::{self, Thread};
use zerocopy::FromZeros;

thread_local! {
    static SCHEDULED: Cell<bool> = const { Cell::new(false) };
    static WAITING: RefCell<Vec<Thread>> = const { RefCell::new(Vec::new()) };
}

/// Calls `run`, in which shuttle decides who goes on.
pub(crate) fn scheduled<T>(run: impl FnOnce() -> T) -> T {
    struct Over;
    impl Drop for Over {
        fn drop(&mut self) {
            SCHEDULED.set(false);
        }
    }
    SCHEDULED.set(true);
    let _over = Over;
    run()
}

/// Calls `what`, during which nobody else goes on.
pub(crate) fn alone<T>(what: impl FnOnce() -> T) -> T {
    let scheduled = SCHEDULED.replace(false);
    let result = what();
    SCHEDULED.set(scheduled);
    result
}

/// Forgets who waited when the last schedule failed.
pub(crate) fn begin() {
    WAITING.take();
}

fn is_scheduled() -> bool {
    SCHEDULED.get()
}

/// Somebody else may go on here.
pub(crate) fn point() {
    if is_scheduled() && !thread::panicking() {
        thread::sleep(std::time::Duration::ZERO);
    }
}

/// Waits, in a schedule, until `what` is there.
fn wait_for<T>(mut what: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(!thread::panicking(), "who panics waits for somebody who goes on no more");
        WAITING.with_borrow_mut(wait);
        thread::park();
    }
}

/// Joins those who wait. Shuttle lets some of them look for no reason, and who is there twice is woken
/// twice: each time somebody else may go on.
fn wait(waiting: &mut Vec<Thread>) {
    let this = thread::current();
    if waiting.iter().all(|other| other.id() != this.id()) {
        waiting.push(this);
    }
}

/// Waits, in a schedule, until it is so.
pub(crate) fn until(so: impl Fn() -> bool) {
    wait_for(|| so().then_some(()));
}

/// Something has happened that somebody may wait for.
pub(crate) fn stir() {
    if is_scheduled() && !thread::panicking() {
        WAITING.take().iter().for_each(Thread::unpark);
    }
}

/// Waits until `fd` is readable; does nothing and says no outside a schedule.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>) -> bool {
    let readable = || {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        poll(&mut fds, Some(&at_once)).is_ok_and(|count| count > 0)
    };
    if is_scheduled() {
        point();
        until(readable);
    }
    is_scheduled()
}

/// As std's.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

/// As std's.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    /// Gone only while the guard is dropped.
    guard: Option<sync::MutexGuard<'a, T>>,
    mutex: &'a sync::Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Mutex(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        point();
        lock(&self.0)
    }

    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        point();
        let guard = |guard| MutexGuard { guard: Some(guard), mutex: &self.0 };
        match self.0.try_lock() {
            Ok(found) => Ok(guard(found)),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            Err(TryLockError::Poisoned(found)) => {
                Err(TryLockError::Poisoned(PoisonError::new(guard(found.into_inner()))))
            }
        }
    }
}

fn lock<T>(mutex: &sync::Mutex<T>) -> LockResult<MutexGuard<'_, T>> {
    let guard = |guard| MutexGuard { guard: Some(guard), mutex };
    let found = if is_scheduled() {
        wait_for(|| match mutex.try_lock() {
            Ok(found) => Some(Ok(found)),
            Err(TryLockError::Poisoned(found)) => Some(Err(found)),
            Err(TryLockError::WouldBlock) => None,
        })
    } else {
        mutex.lock()
    };
    match found {
        Ok(found) => Ok(guard(found)),
        Err(found) => Err(PoisonError::new(guard(found.into_inner()))),
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect("it is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("it is held")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // While it is waited with, the condition variable has it.
        if self.guard.take().is_some() {
            stir();
        }
    }
}

/// As std's.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    plain: sync::Condvar,
    notified: sync::atomic::AtomicU64,
    waiting: sync::atomic::AtomicUsize,
}

impl Condvar {
    pub(crate) fn wait<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
    ) -> LockResult<MutexGuard<'a, T>> {
        if is_scheduled() {
            point();
            let (seen, mutex) = (self.notified.load(Relaxed), guard.mutex);
            self.waiting.fetch_add(1, Relaxed);
            drop(guard);
            until(|| self.notified.load(Relaxed) != seen);
            self.waiting.fetch_sub(1, Relaxed);
            return lock(mutex);
        }
        let (held, mutex) = (guard.guard.take().expect("it is held"), guard.mutex);
        let guard = |guard| MutexGuard { guard: Some(guard), mutex };
        match self.plain.wait(held) {
            Ok(held) => Ok(guard(held)),
            Err(held) => Err(PoisonError::new(guard(held.into_inner()))),
        }
    }

    /// How many wait, in a schedule.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    pub(crate) fn notify_all(&self) {
        point();
        self.notified.fetch_add(1, Relaxed);
        self.plain.notify_all();
        stir();
    }
}

/// Atomics like std's, each use of which is a point.
macro_rules! atomics {
    ($($name:ident of $value:ty;)*) => {$(
        /// As std's.
        #[derive(Debug, Default, FromZeros)]
        #[repr(transparent)]
        pub(crate) struct $name(sync::atomic::$name);

        impl $name {
            #[allow(dead_code, reason = "as std's, used or not")]
            pub(crate) const fn new(value: $value) -> Self {
                $name(sync::atomic::$name::new(value))
            }
        }

        impl Deref for $name {
            type Target = sync::atomic::$name;

            fn deref(&self) -> &Self::Target {
                point();
                &self.0
            }
        }
    )*};
}

atomics! {
    AtomicBool of bool;
    AtomicU64 of u64;
    AtomicUsize of usize;
}
