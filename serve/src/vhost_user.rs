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
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blockdev::{Engine, Stack};
use devices::virtio::blk;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use vhost::vhost_user::{BackendReqHandler, Error as ProtocolError};

pub use devices::virtio::blk::Settings;

use crate::error::chain;
use crate::{Error, Result, Socket};
use backend::Backend;

/// How long half a message may take to be whole.
const MESSAGE: Duration = Duration::from_secs(5);

/// Serves `stack` as `settings` have it to one front end after the other, until `stop` is
/// readable. What guests have asked for by then is done and answered.
///
/// # Errors
/// The system does not let us wait. What goes wrong with a front end is a line in the log.
pub fn serve(
    socket: &Socket,
    stack: &Stack,
    settings: &Settings,
    stop: BorrowedFd<'_>,
) -> Result<()> {
    while wait(stop, socket.as_fd())? {
        let client = match socket.accept() {
            Ok(client) => client,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(Error::Wait(error)),
        };
        if let Err(error) = serve_one(client, stack, settings, stop) {
            log::warn!("a front end is gone: {}", chain(&error));
        }
    }
    Ok(())
}

/// Serves one front end until it leaves or `stop` is readable.
fn serve_one(
    client: UnixStream,
    stack: &Stack,
    settings: &Settings,
    stop: BorrowedFd<'_>,
) -> Result<()> {
    client.set_read_timeout(Some(MESSAGE)).map_err(Error::Connection)?;
    let messages = client.try_clone().map_err(Error::Connection)?;
    let backend = Arc::new(Mutex::new(Backend::new(settings, stack)));
    let mut handler = BackendReqHandler::from_stream(client, backend);
    while wait(stop, messages.as_fd())? {
        match handler.handle_request() {
            Ok(()) => {}
            Err(ProtocolError::Disconnected) => return Ok(()),
            Err(error) => return Err(Error::FrontEnd(error)),
        }
    }
    Ok(())
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
fn device(settings: &Settings, stack: &Stack) -> blk::Device {
    let stack = stack.clone();
    blk::Device::new(settings.clone(), Box::new(move || stack.disk(Engine::Auto)))
}

#[cfg(test)]
mod tests;
