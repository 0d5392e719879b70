//! What the guest sends, on its way from a vCPU's thread to the event loop's.
//!
//! Bounded: a guest that sends faster than anyone takes waits in [`Pipe::wait_for_room`]. Whoever
//! is about to stop the vCPUs calls [`Pipe::let_go`] first, so that none of them waits there; what
//! each sends on its way out is kept all the same.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fd::{AsFd, BorrowedFd};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// Bytes taken before the guest has to wait.
const ROOM: usize = 64 << 10;

/// The pipe; both ends hold the same one.
#[derive(Debug)]
pub struct Pipe {
    state: Mutex<State>,
    room: Condvar,
    /// Signalled when the first byte comes into an empty pipe.
    filled: EventFd,
}

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    /// Whether a writer may be made to wait.
    patient: bool,
}

impl Pipe {
    /// An empty pipe.
    pub fn new() -> io::Result<Arc<Pipe>> {
        let filled = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        let state = Mutex::new(State { bytes: Vec::new(), patient: true });
        Ok(Arc::new(Pipe { state, room: Condvar::new(), filled }))
    }

    /// Returns when there is room for a byte, or when nobody is to wait.
    pub fn wait_for_room(&self) {
        let full = |state: &mut State| state.patient && state.bytes.len() >= ROOM;
        let guard = self.room.wait_while(self.lock(), full);
        drop(guard.unwrap_or_else(PoisonError::into_inner));
    }

    /// From now on nobody waits.
    pub fn let_go(&self) {
        self.lock().patient = false;
        self.room.notify_all();
    }

    /// From now on writers wait for room again.
    pub fn hold(&self) {
        self.lock().patient = true;
    }

    /// Replaces what `into` holds by everything in the pipe.
    pub fn take(&self, into: &mut Vec<u8>) {
        into.clear();
        // Fails when nothing came since the last time.
        let _ = self.filled.read();
        std::mem::swap(&mut self.lock().bytes, into);
        if into.len() >= ROOM {
            self.room.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Readable when there is something to take.
impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        crate::poll::event(&self.filled)
    }
}

/// The guest's end. Never blocks.
#[derive(Debug)]
pub struct Writer(pub Arc<Pipe>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        let was_empty = state.bytes.is_empty();
        state.bytes.extend_from_slice(bytes);
        // Before the signal, or whoever it wakes has to wait for the lock.
        drop(state);
        if was_empty {
            self.0.filled.write(1)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn bytes_come_out_in_order_and_the_event_follows() {
        let pipe = Pipe::new().unwrap();
        let mut writer = Writer(pipe.clone());
        writer.write_all(b"ab").unwrap();
        writer.write_all(b"c").unwrap();
        assert_eq!(pipe.filled.read().unwrap(), 1, "one signal for the first byte");
        let mut out = b"old".to_vec();
        pipe.take(&mut out);
        assert_eq!(out, b"abc");
        pipe.take(&mut out);
        assert!(out.is_empty());
        assert!(pipe.filled.read().is_err(), "nothing to take, nothing signalled");
    }

    #[test]
    fn writer_waits_until_someone_takes() {
        let pipe = Pipe::new().unwrap();
        Writer(pipe.clone()).write_all(&[b'x'; ROOM]).unwrap();
        let waiter = thread::spawn({
            let pipe = pipe.clone();
            move || pipe.wait_for_room()
        });
        pipe.take(&mut Vec::new());
        waiter.join().unwrap();
    }

    #[test]
    fn nobody_waits_once_let_go_until_held_again() {
        let pipe = Pipe::new().unwrap();
        Writer(pipe.clone()).write_all(&[b'x'; ROOM]).unwrap();
        let waiter = thread::spawn({
            let pipe = pipe.clone();
            move || pipe.wait_for_room()
        });
        pipe.let_go();
        waiter.join().unwrap();
        pipe.wait_for_room();
        pipe.hold();
        assert!(pipe.lock().patient);
    }
}
