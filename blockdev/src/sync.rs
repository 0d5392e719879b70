//! What threads meet at: std's, but in this crate's own tests every use of one is also a point at
//! which `schedules` may let another thread go on.
//!
//! Only what the order of threads depends on is taken from here.

#[cfg(not(test))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(test)]
pub(crate) use scheduled::{Condvar, Mutex, MutexGuard};

#[cfg(test)]
pub(crate) mod scheduled;

pub(crate) mod mpsc {
    //! Channels.

    #[cfg(not(test))]
    pub(crate) use std::sync::mpsc::{Receiver, Sender, channel};

    #[cfg(test)]
    pub(crate) use super::scheduled::mpsc::{Receiver, Sender, channel};
}

pub(crate) mod atomic {
    //! Numbers that several threads change.

    #[cfg(not(test))]
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

    #[cfg(test)]
    pub(crate) use super::scheduled::{AtomicBool, AtomicU64, AtomicUsize};

    pub(crate) use std::sync::atomic::Ordering;
}
