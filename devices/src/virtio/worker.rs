//! The thread that serves a device's queues, and what it sleeps on.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::chain::Chain;
use super::queue::Queue;
use super::{Active, Error, Result, VirtioDevice};

/// Workers keep their data on the heap or in guest memory; what they do not touch of their stack
/// costs nothing.
pub const STACK_SIZE: usize = 128 << 10;

/// Asks a worker to finish what is in flight and return. Stays raised.
pub struct Stop {
    requested: AtomicBool,
    event: EventFd,
}

impl Stop {
    /// Nothing has been asked yet.
    ///
    /// # Errors
    /// The process is out of file descriptors.
    pub fn new() -> io::Result<Self> {
        let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Stop { requested: AtomicBool::new(false), event })
    }

    /// Asks.
    pub fn raise(&self) {
        if !self.requested.swap(true, Ordering::SeqCst) {
            self.event.write(1).expect("the counter goes from 0 to 1, once");
        }
    }

    /// Whether to take nothing more.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Readable when stopping is asked for.
    #[must_use]
    pub fn event(&self) -> &EventFd {
        &self.event
    }
}

/// A set of file descriptors to sleep on until one is readable.
pub struct Sleeper(Epoll);

impl Sleeper {
    /// Nothing to wait for yet.
    ///
    /// # Errors
    /// The process is out of file descriptors.
    pub fn new() -> Result<Self> {
        Epoll::new().map(Sleeper).map_err(Error::Wait)
    }

    /// Adds one to wait for. It must outlive its place in the set.
    ///
    /// # Errors
    /// The host refuses.
    pub fn add(&self, fd: &impl AsRawFd) -> Result<()> {
        self.control(ControlOperation::Add, fd)
    }

    /// Takes one out of the set.
    ///
    /// # Errors
    /// It is not in the set.
    pub fn remove(&self, fd: &impl AsRawFd) -> Result<()> {
        self.control(ControlOperation::Delete, fd)
    }

    fn control(&self, operation: ControlOperation, fd: &impl AsRawFd) -> Result<()> {
        let fd = fd.as_raw_fd();
        self.0.ctl(operation, fd, EpollEvent::new(EventSet::IN, 0)).map_err(Error::Wait)
    }

    /// Sleeps until one of the set is readable. Which one, the caller finds out by trying.
    ///
    /// # Errors
    /// The host refuses.
    pub fn sleep(&self) -> Result<()> {
        loop {
            match self.0.wait(-1, &mut [EpollEvent::default()]) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Wait(error)),
            }
        }
    }
}

/// Serves a queue whose requests finish at once: hands each chain to `handle`, which returns how
/// many bytes it wrote, until `stop`.
///
/// # Errors
/// The queue is broken, or `handle` gave up.
pub fn serve_each(
    queue: &mut Queue,
    guest: &Active,
    stop: &Stop,
    mut handle: impl FnMut(&Chain) -> Result<u32>,
) -> Result<()> {
    let sleeper = Sleeper::new()?;
    sleeper.add(stop.event())?;
    sleeper.add(queue.kick())?;
    while !stop.is_requested() {
        queue.disable_kicks()?;
        let mut any = false;
        // No more in a row than the queue holds, so that a busy driver cannot keep us from `stop`.
        for _ in 0..queue.size() {
            let Some(chain) = queue.pop()? else { break };
            let written = handle(&chain)?;
            queue.push(chain.head(), written)?;
            any = true;
        }
        if any && queue.wants_interrupt()? {
            guest.interrupt.used_buffers();
        }
        if !queue.enable_kicks()? {
            sleeper.sleep()?;
        }
    }
    Ok(())
}

/// A device and the queues its driver gave it.
pub(super) struct Served {
    pub device: Box<dyn VirtioDevice>,
    pub queues: Vec<Queue>,
}

/// The thread serving a device.
pub(super) struct Worker {
    stop: Arc<Stop>,
    thread: JoinHandle<Served>,
}

impl Worker {
    /// Moves `served` into a thread of its own; gives it back where there is none to be had.
    pub fn start(served: Served, guest: Active) -> std::result::Result<Self, (Served, Error)> {
        let name = served.device.name().to_owned();
        // The thread first and its device after, so that failing to get one loses nothing.
        let (give, take) = mpsc::sync_channel::<Served>(1);
        let spawn = |stop: Arc<Stop>| {
            thread::Builder::new().name(name).stack_size(STACK_SIZE).spawn(move || {
                let mut served = take.recv().expect("the starter gives before it forgets us");
                serve(&mut served, &guest, &stop);
                served
            })
        };
        let started = Stop::new().map(Arc::new).and_then(|stop| Ok((stop.clone(), spawn(stop)?)));
        match started {
            Ok((stop, thread)) => {
                give.send(served).expect("the thread takes before it ends");
                Ok(Worker { stop, thread })
            }
            Err(error) => Err((served, Error::Thread(error))),
        }
    }

    /// Returns when nothing is in flight any more. None if the thread panicked: then the device
    /// is gone.
    pub fn stop(self) -> Option<Served> {
        self.stop.raise();
        self.thread.join().ok()
    }
}

fn serve(served: &mut Served, guest: &Active, stop: &Stop) {
    if let Err(error) = served.device.serve(&mut served.queues, guest, stop) {
        guest.interrupt.needs_reset(&error);
    }
}
