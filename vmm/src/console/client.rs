//! Someone who watches the console and may type.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use crate::poll::{Watch, hung_up};

/// Bytes kept for a client that does not read.
const ROOM: usize = 64 << 10;

/// What happens when a client does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// The guest waits.
    HoldsUp,
    /// The client loses the oldest bytes, and is told how many.
    Loses,
}

/// A connected client.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    slow: Slow,
    pending: VecDeque<u8>,
    lost: usize,
    /// It may still type.
    types: bool,
}

impl Client {
    /// Takes `stream` over.
    pub fn new(stream: UnixStream, slow: Slow) -> io::Result<Client> {
        stream.set_nonblocking(true)?;
        Ok(Client { stream, slow, pending: VecDeque::new(), lost: 0, types: true })
    }

    /// Adds what to wait for: input only if someone `listens`.
    pub fn watch<'a>(&'a self, watch: &mut Watch<'a>, listens: bool) {
        watch.stream(&self.stream, self.types && listens, !self.pending.is_empty());
    }

    /// Whether the guest has to wait for this client.
    pub fn holds_up(&self) -> bool {
        self.slow == Slow::HoldsUp && self.pending.len() >= ROOM
    }

    /// Whether it is owed bytes that it must not lose.
    pub fn waits_for_more(&self) -> bool {
        self.slow == Slow::HoldsUp && !self.pending.is_empty()
    }

    /// Queues `bytes` for it.
    pub fn queue(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes);
        if self.slow == Slow::Loses && self.pending.len() > ROOM {
            let excess = self.pending.len() - ROOM;
            self.pending.drain(..excess);
            self.lost += excess;
        }
    }

    /// Sends what it takes without waiting. An error means that it is gone.
    pub fn send(&mut self) -> io::Result<()> {
        if self.lost > 0 {
            let mark = format!("\r\n[offshoot: {} bytes of output lost here]\r\n", self.lost);
            mark.bytes().rev().for_each(|byte| self.pending.push_front(byte));
            self.lost = 0;
        }
        while !self.pending.is_empty() {
            let (bytes, _) = self.pending.as_slices();
            match self.stream.write(bytes) {
                Ok(sent) => drop(self.pending.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Appends what it typed, at most `room` bytes, to `input`. An error means that it is gone.
    pub fn receive(&mut self, input: &mut VecDeque<u8>, room: usize) -> io::Result<()> {
        if self.types && room > 0 {
            let mut bytes = [0; 256];
            let room = room.min(bytes.len());
            match self.stream.read(&mut bytes[..room]) {
                // It may have closed only its sending side, and go on watching.
                Ok(0) => self.types = false,
                Ok(typed) => input.extend(&bytes[..typed]),
                Err(error) if retry(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if (!self.types || room == 0) && hung_up(&self.stream) {
            return Err(ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
}

fn retry(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(slow: Slow) -> (Client, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Client::new(ours, slow).unwrap(), theirs)
    }

    #[test]
    fn slow_watcher_loses_the_oldest_and_is_told() {
        let (mut client, mut theirs) = client(Slow::Loses);
        for _ in 0..100 {
            client.queue(&[b'x'; ROOM]);
            client.send().unwrap();
        }
        client.queue(b"the end");
        assert!(client.pending.len() <= ROOM + 128, "{}", client.pending.len());
        assert!(!client.holds_up());
        theirs.set_nonblocking(true).unwrap();
        let mut seen = Vec::new();
        while !client.pending.is_empty() {
            let _ = theirs.read_to_end(&mut seen);
            client.send().unwrap();
        }
        let _ = theirs.read_to_end(&mut seen);
        let seen = String::from_utf8(seen).unwrap();
        assert!(seen.contains("bytes of output lost here]"));
        assert!(seen.ends_with("the end"));
    }

    #[test]
    fn attached_client_holds_the_guest_up_and_loses_nothing() {
        let (mut client, _theirs) = client(Slow::HoldsUp);
        let mut queued = 0;
        while !client.holds_up() {
            client.queue(&[b'x'; 4096]);
            queued += 4096;
            client.send().unwrap();
        }
        assert!(queued >= ROOM);
        assert_eq!(client.lost, 0);
    }

    #[test]
    fn client_that_stops_typing_still_watches() {
        let (mut client, mut theirs) = client(Slow::Loses);
        theirs.write_all(b"ls\n").unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let mut input = VecDeque::new();
        client.receive(&mut input, 256).unwrap();
        client.receive(&mut input, 256).unwrap();
        assert_eq!(input, b"ls\n");
        client.queue(b"file");
        client.send().unwrap();
        let mut seen = [0; 4];
        theirs.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"file");
    }

    #[test]
    fn client_that_left_is_noticed() {
        let (mut client, theirs) = client(Slow::Loses);
        drop(theirs);
        assert!(client.receive(&mut VecDeque::new(), 256).is_err());
    }
}
