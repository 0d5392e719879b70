//! One queue: what the front end has said of it, and the thread that serves it.
#![allow(unsafe_code, reason = "an eventfd is made from a descriptor that was received")]

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use devices::irq::Irq;
use devices::virtio::blk::Device;
use devices::virtio::interrupt::Interrupt;
use devices::virtio::queue::Queue;
use devices::virtio::worker::{STACK_SIZE, Stop};
use devices::virtio::{Active, VirtioDevice};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::QueueState;
use vmm_sys_util::eventfd::EventFd;

use super::memory::Memory;

/// A queue. It is served while all that it takes is there.
#[derive(Default)]
pub struct Vring {
    /// Descriptors.
    pub size: u16,
    /// Descriptor table, available ring and used ring, in the front end's address space.
    pub addresses: Option<[u64; 3]>,
    /// Where in the available ring to go on.
    pub base: u16,
    /// Whether the front end lets it be served.
    pub enabled: bool,
    kick: Option<Arc<EventFd>>,
    call: Arc<Call>,
    running: Option<Running>,
}

/// How the driver is told; the front end may change it at any time.
#[derive(Default)]
struct Call(Mutex<Option<EventFd>>);

impl Irq for Call {
    fn raise(&self) -> io::Result<()> {
        let call = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        call.as_ref().map_or(Ok(()), |call| call.write(1))
    }
}

/// A queue that is being served.
struct Running {
    stop: Arc<Stop>,
    thread: JoinHandle<u16>,
}

impl Vring {
    /// What the driver's notifications fire.
    pub fn set_kick(&mut self, file: Option<File>) -> io::Result<()> {
        self.kick = file.map(event).transpose()?.map(Arc::new);
        Ok(())
    }

    /// What tells the driver.
    pub fn set_call(&mut self, file: Option<File>) -> io::Result<()> {
        let call = file.map(event).transpose()?;
        *self.call.0.lock().unwrap_or_else(PoisonError::into_inner) = call;
        // The driver may have missed something while there was none.
        self.call.raise()
    }

    /// Starts to serve it, if everything is there and nobody does.
    ///
    /// # Errors
    /// What is there makes no sense.
    pub fn start(
        &mut self,
        index: u16,
        mut device: Device,
        memory: &Arc<Memory>,
        features: u64,
    ) -> io::Result<()> {
        let (true, None, Some(addresses), Some(kick)) =
            (self.enabled, &self.running, self.addresses, &self.kick)
        else {
            return Ok(());
        };
        let state = self.state(addresses, memory, features)?;
        let guest = Arc::new(memory.guest.clone());
        let queue = Queue::new(index, state, guest.clone(), kick.clone());
        let mut queues = [queue.map_err(io::Error::other)?];
        let interrupt = Arc::new(Interrupt::new("vhost-user-blk", self.call.clone()));
        let active = Active { memory: guest, features, interrupt };
        let stop = Arc::new(Stop::new()?);
        let stopped = stop.clone();
        let serve = move || {
            if let Err(error) = device.serve(&mut queues, &active, &stopped) {
                active.interrupt.needs_reset(&error);
            }
            queues[0].next_available()
        };
        let builder = thread::Builder::new().name(format!("vring {index}"));
        let thread = builder.stack_size(STACK_SIZE).spawn(serve)?;
        self.running = Some(Running { stop, thread });
        Ok(())
    }

    /// Ends serving it, when nothing is in flight any more.
    pub fn stop(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            stop.raise();
            match thread.join() {
                Ok(next) => self.base = next,
                Err(_) => log::error!("a queue's thread panicked"),
            }
        }
    }

    fn state(&self, addresses: [u64; 3], memory: &Memory, features: u64) -> io::Result<QueueState> {
        let outside = || io::Error::other("a ring is outside the memory");
        let [descriptors, available, used] =
            addresses.map(|address| memory.translate(address).ok_or_else(outside));
        Ok(QueueState {
            max_size: self.size,
            next_avail: self.base,
            // Nothing is in flight between two threads.
            next_used: self.base,
            event_idx_enabled: features & (1 << VIRTIO_RING_F_EVENT_IDX) != 0,
            size: self.size,
            ready: true,
            desc_table: descriptors?,
            avail_ring: available?,
            used_ring: used?,
        })
    }
}

impl Drop for Vring {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Takes a descriptor for an eventfd; whatever it is, using it must not wait.
fn event(file: File) -> io::Result<EventFd> {
    fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::NONBLOCK)?;
    // SAFETY: the descriptor is open and nobody else's from here on.
    Ok(unsafe { EventFd::from_raw_fd(file.into_raw_fd()) })
}
