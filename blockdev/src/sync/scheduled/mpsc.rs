//! Channels as std's, whose ends meet where a schedule has them meet.

use std::fmt;
use std::sync::mpsc::{self, RecvError, SendError, TryRecvError};

use super::{is_scheduled, point, stir, wait_for};

/// As std's.
pub(crate) struct Sender<T>(
    /// Gone only while this is dropped.
    Option<mpsc::Sender<T>>,
);

/// As std's.
pub(crate) struct Receiver<T>(mpsc::Receiver<T>);

/// As std's.
pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel();
    (Sender(Some(sender)), Receiver(receiver))
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> Sender<T> {
    pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
        point();
        let sent = self.0.as_ref().expect("it is not dropped").send(value);
        stir();
        sent
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0 = None;
        stir();
    }
}

impl<T> Receiver<T> {
    pub(crate) fn recv(&self) -> Result<T, RecvError> {
        if !is_scheduled() {
            return self.0.recv();
        }
        point();
        wait_for(|| match self.0.try_recv() {
            Ok(value) => Some(Ok(value)),
            Err(TryRecvError::Disconnected) => Some(Err(RecvError)),
            Err(TryRecvError::Empty) => None,
        })
    }

    pub(crate) fn try_iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| {
            point();
            self.0.try_recv().ok()
        })
    }
}
