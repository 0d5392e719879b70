//! All clients of one disk: a thread for each.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::connection;
use super::export::Export;
use crate::error::chain;
use crate::{Error, Result, Served, Socket};

/// Connections at the same time. Each may take 48 MiB at worst, see `budget`.
const MOST_CONNECTIONS: usize = 32;
/// How long clients may take to read the last replies when the server ends.
const GRACE: Duration = Duration::from_secs(1);
/// Until the next try where the process is out of file descriptors.
const RETRY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// What a connection does not keep on the heap is little.
const STACK_SIZE: usize = 256 << 10;

/// Serves a disk as `export` to whoever connects to `socket`, until `stop` is readable. What
/// clients have asked for by then is done and answered.
///
/// Nothing is flushed at the end but what clients flushed: see
/// [`Stack::flush`](blockdev::Stack::flush).
///
/// # Errors
/// The system does not let us wait. What goes wrong with a client is its own trouble, and a line
/// in the log.
pub fn serve(
    socket: &Socket,
    served: &Served,
    export: &Export,
    stop: BorrowedFd<'_>,
) -> Result<()> {
    let mut clients = Clients::new(served, export);
    let mut waited = Ok(());
    let mut timeout = None;
    loop {
        let mut fds = [PollFd::from_borrowed_fd(stop, PollFlags::IN)].to_vec();
        if timeout.is_none() {
            fds.push(PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN));
        }
        match poll(&mut fds, timeout.take().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                waited = Err(Error::Wait(error.into()));
                break;
            }
        }
        if !fds[0].revents().is_empty() {
            break;
        }
        match socket.accept() {
            Ok(client) => clients.add(client),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                log::warn!("cannot accept a client: {error}");
                timeout = Some(RETRY);
            }
        }
    }
    clients.end();
    waited
}

/// Clients being served.
struct Clients {
    served: Served,
    export: Export,
    clients: Vec<Client>,
    /// Every thread holds a sender; nobody sends.
    alive: Sender<()>,
    ended: Receiver<()>,
}

struct Client {
    socket: UnixStream,
    thread: JoinHandle<()>,
}

impl Clients {
    fn new(served: &Served, export: &Export) -> Self {
        let (alive, ended) = mpsc::channel();
        Clients {
            served: served.clone(),
            export: export.clone(),
            clients: Vec::new(),
            alive,
            ended,
        }
    }

    /// Starts to serve a client, if it is not one too many.
    fn add(&mut self, socket: UnixStream) {
        self.clients.retain(|client| !client.thread.is_finished());
        if self.clients.len() >= MOST_CONNECTIONS {
            log::warn!("there are {MOST_CONNECTIONS} clients already: another one is turned away");
            return;
        }
        match self.start(socket) {
            Ok(client) => self.clients.push(client),
            Err(error) => log::warn!("cannot serve a client: {error}"),
        }
    }

    fn start(&self, socket: UnixStream) -> io::Result<Client> {
        let ours = socket.try_clone()?;
        let (served, export) = (self.served.clone(), self.export.clone());
        let alive = self.alive.clone();
        let serve = move || {
            if let Err(error) = connection::serve(&socket, &served, &export) {
                log::warn!("a client is gone: {}", chain(&error));
            }
            // Closing is not enough: `ours` is open still.
            let _ = socket.shutdown(Shutdown::Both);
            drop(alive);
        };
        let thread = thread::Builder::new().name("nbd".into()).stack_size(STACK_SIZE);
        Ok(Client { socket: ours, thread: thread.spawn(serve)? })
    }

    /// Ends all connections: first as if their clients said nothing more, then by force.
    fn end(self) {
        let Clients { clients, alive, ended, .. } = self;
        drop(alive);
        shut(&clients, Shutdown::Read);
        if ended.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
            shut(&clients, Shutdown::Both);
        }
        for client in clients {
            // It can only have panicked, and said so.
            let _ = client.thread.join();
        }
    }
}

fn shut(clients: &[Client], how: Shutdown) {
    for client in clients {
        // The client may have gone by itself.
        let _ = client.socket.shutdown(how);
    }
}
