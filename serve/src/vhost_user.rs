//! A disk for the machine of another monitor: a vhost-user-blk back end, as
//! <https://qemu-project.gitlab.io/qemu/interop/vhost-user.html> has it.
//!
//! ```text
//!   QEMU ── socket ──► backend (messages) ──► vring: Queue, kick, call ── thread ── Disk
//!     └─ guest memory, shared ────────────────────┘
//! ```
//!
//! Requests are served by `devices::virtio::blk`, as those of our own machines are. One front end
//! at a time; each of its queues has a thread.

mod backend;
mod memory;
mod vring;

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use devices::virtio::blk;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use vhost::vhost_user::{BackendReqHandler, Error as ProtocolError};

pub use devices::virtio::blk::Settings;

use crate::error::chain;
use crate::{Error, Result, Served, Socket};
use backend::Backend;

/// How long to wait after the system took no front end.
const RETRY: Duration = Duration::from_millis(100);

/// Serves a disk as `settings` have it to one front end after the other, until `stop` is
/// readable. What guests have asked for by then is done and answered.
///
/// # Errors
/// The system does not let us wait. What goes wrong with a front end is a line in the log.
pub fn serve(
    socket: &Socket,
    served: &Served,
    settings: &Settings,
    stop: BorrowedFd<'_>,
) -> Result<()> {
    while wait(stop, socket.as_fd())? {
        let client = match socket.accept() {
            Ok(client) => client,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => {
                log::warn!("cannot accept a front end: {error}");
                thread::sleep(RETRY);
                continue;
            }
        };
        if let Err(error) = serve_one(client, served, settings, stop) {
            log::warn!("a front end is gone: {}", chain(&error));
        }
    }
    Ok(())
}

/// Serves one front end until it leaves or `stop` is readable.
fn serve_one(
    client: UnixStream,
    served: &Served,
    settings: &Settings,
    stop: BorrowedFd<'_>,
) -> Result<()> {
    let messages = client.try_clone().map_err(Error::Connection)?;
    let backend = Arc::new(Mutex::new(Backend::new(settings, served)));
    let mut handler = BackendReqHandler::from_stream(client, backend);
    let (ended, working) = io::pipe().map_err(Error::Connection)?;
    thread::scope(|scope| {
        scope.spawn(|| hang_up(&messages, stop, ended.as_fd()));
        let result = converse(&mut handler, messages.as_fd(), stop);
        drop(working);
        result
    })
}

fn converse(
    handler: &mut BackendReqHandler<Mutex<Backend>>,
    messages: BorrowedFd<'_>,
    stop: BorrowedFd<'_>,
) -> Result<()> {
    while wait(stop, messages)? {
        match handler.handle_request() {
            Ok(()) => {}
            Err(ProtocolError::Disconnected) => return Ok(()),
            Err(error) => return Err(Error::FrontEnd(error)),
        }
    }
    Ok(())
}

/// Ends a conversation when `stop` is readable, unless it has `ended` by itself: the handler waits
/// for as long as it takes for the rest of a message, and for its answers to be taken.
fn hang_up(messages: &UnixStream, stop: BorrowedFd<'_>, ended: BorrowedFd<'_>) {
    if !matches!(wait(stop, ended), Ok(true)) {
        // Refused where the front end has hung up already.
        let _ = messages.shutdown(Shutdown::Both);
    }
}

/// Waits for one of two descriptors; false for `stop`.
fn wait(stop: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool> {
    loop {
        let mut fds = [stop, other].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) if !fds[0].revents().is_empty() => return Ok(false),
            Ok(_) if !fds[1].revents().is_empty() => return Ok(true),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Error::Wait(error.into())),
        }
    }
}

/// The device behind one queue, or behind the configuration space.
fn device(settings: &Settings, served: &Served) -> blk::Device {
    let served = served.clone();
    blk::Device::new(settings.clone(), Box::new(move || served.disk()))
}

#[cfg(test)]
mod tests;
