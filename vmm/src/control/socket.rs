//! The control socket: connections, their bytes, and the machine their requests are for.
//!
//! Runs on the event loop's thread and never waits for a client. A connection has at most one
//! request's worth of bytes waiting in and one response's out: whoever does not read his answers
//! is not read either, nor is one whose answer takes longer; all others are.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::fd::AsFd;
use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};

use super::api::{self, Call};
use super::http::{self, MAX_REQUEST, Parsed, Response};
use crate::poll::{Watch, hung_up};

/// Connections at one time. One more replaces the one that has been silent for longest and waits
/// for no answer.
const MAX_CONNECTIONS: usize = 16;

/// The listening side, with its connections.
#[derive(Debug)]
pub struct Server {
    listener: Option<UnixListener>,
    /// The most recently heard of comes last.
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// No more requests are taken; it goes when the output is out.
    closing: bool,
    /// Its last request is still to be answered.
    waiting: bool,
}

/// What a connection did.
enum Did {
    /// Nothing new came.
    Wait,
    /// Something came.
    Hear,
    /// It is over.
    End,
}

impl Server {
    /// Serves `listener`, or nobody.
    pub fn new(listener: Option<UnixListener>) -> io::Result<Server> {
        if let Some(listener) = &listener {
            listener.set_nonblocking(true)?;
        }
        Ok(Server { listener, connections: Vec::new() })
    }

    /// Adds what to wait for.
    pub fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        if let Some(listener) = &self.listener {
            watch.input(listener.as_fd());
        }
        self.connections.iter().for_each(|connection| connection.watch(watch));
    }

    /// Does whatever can be done without waiting; `answer` does what requests ask for. Where it has
    /// no response yet, [`answer`](Server::answer) gives that later.
    pub fn serve(&mut self, mut answer: impl FnMut(Call) -> Option<Response>) {
        self.accept();
        let mut heard = Vec::new();
        for mut connection in mem::take(&mut self.connections) {
            match connection.serve(&mut answer) {
                Ok(Did::Wait) => self.connections.push(connection),
                Ok(Did::Hear) => heard.push(connection),
                Ok(Did::End) | Err(_) => {}
            }
        }
        self.connections.append(&mut heard);
    }

    /// Answers the request that waits for it, unless its client has gone. At most one waits.
    pub fn answer(&mut self, response: &Response) {
        let Some(client) = self.connections.iter_mut().find(|client| client.waiting) else {
            return;
        };
        client.waiting = false;
        client.output = response.encode(!client.closing);
        // What does not go out yet, or never will, is the next round's affair.
        let _ = client.send();
    }

    /// Takes no more in one round than there are places, so that nobody goes who was not heard.
    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        let waiting = self.connections.iter().filter(|client| client.waiting).count();
        for _ in waiting..MAX_CONNECTIONS {
            match listener.accept().and_then(|(stream, _)| Connection::new(stream)) {
                Ok(connection) => self.connections.push(connection),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return log::warn!("control socket: cannot take a client: {error}"),
            }
            if self.connections.len() > MAX_CONNECTIONS
                && let Some(silent) = self.connections.iter().position(|client| !client.waiting)
            {
                self.connections.remove(silent);
            }
        }
    }
}

impl Connection {
    fn new(stream: UnixStream) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        let (input, output) = (Vec::new(), Vec::new());
        Ok(Connection { stream, input, output, closing: false, waiting: false })
    }

    fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        let idle = self.is_idle();
        watch.stream(&self.stream, idle && !self.closing, !self.output.is_empty());
    }

    /// Whether all its requests have had their answers.
    fn is_idle(&self) -> bool {
        self.output.is_empty() && !self.waiting
    }

    fn serve(&mut self, answer: &mut dyn FnMut(Call) -> Option<Response>) -> io::Result<Did> {
        self.send()?;
        if self.waiting && hung_up(&self.stream) {
            return Ok(Did::End);
        }
        let heard = self.is_idle() && !self.closing && self.receive()?;
        while self.is_idle() && self.answer_next(answer) {
            self.send()?;
        }
        Ok(match (self.closing && self.is_idle(), heard) {
            (true, _) => Did::End,
            (false, true) => Did::Hear,
            (false, false) => Did::Wait,
        })
    }

    /// Sends what the client takes.
    fn send(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes what came; whether anything did.
    fn receive(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        let room = MAX_REQUEST.saturating_sub(self.input.len()).min(bytes.len());
        match self.stream.read(&mut bytes[..room]) {
            Ok(0) => {
                self.closing = true;
                Ok(false)
            }
            Ok(received) => {
                self.input.extend_from_slice(&bytes[..received]);
                Ok(true)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Answers the next request that is here as a whole; whether there was one.
    fn answer_next(&mut self, answer: &mut dyn FnMut(Call) -> Option<Response>) -> bool {
        match http::parse(&self.input) {
            Parsed::Partial => false,
            Parsed::Whole(request, length) => {
                self.input.drain(..length);
                match api::route(&request).map_or_else(Some, &mut *answer) {
                    Some(response) => self.output = response.encode(request.keep_alive),
                    None => self.waiting = true,
                }
                if !request.keep_alive {
                    self.end_input();
                }
                true
            }
            Parsed::Bad(response) => {
                self.output = response.encode(false);
                self.end_input();
                true
            }
        }
    }

    fn end_input(&mut self) {
        self.closing = true;
        self.input.clear();
    }
}

/// Binds a socket that only its owner may connect to.
///
/// # Errors
/// Something is at `path` already, or it is longer than the 107 bytes a socket's address has
/// room for, or the system refuses.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Before it has a name: afterwards somebody could be faster.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &address)?;
    rustix::net::listen(&socket, 64)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;
