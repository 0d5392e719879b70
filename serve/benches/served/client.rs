//! What a client of a disk is asked to do, whatever it speaks.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::nbd::Connection;
use crate::queue::Kind;
use crate::report::Result;
use crate::vhost_user::Machine;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Nbd,
    VhostUser,
}

impl Protocol {
    pub const ALL: [Protocol; 2] = [Protocol::Nbd, Protocol::VhostUser];

    /// Connects to a server, for `depth` operations of 4 KiB in flight.
    pub fn connect(self, socket: &Path, depth: usize) -> Result<Box<dyn Client>> {
        Ok(match self {
            Protocol::Nbd => Box::new(Connection::open(socket, depth)?),
            Protocol::VhostUser => Box::new(Machine::start(socket, depth)?),
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Nbd => "NBD",
            Protocol::VhostUser => "vhost-user",
        })
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(word: &str) -> std::result::Result<Protocol, String> {
        let found = Protocol::ALL.into_iter().find(|protocol| protocol.to_string() == word);
        found.ok_or_else(|| format!("nobody speaks {word}"))
    }
}

/// Somebody who has a disk served.
pub trait Client {
    /// Does `count` operations, the n-th where `at` says.
    fn run(&mut self, kind: Kind, count: u64, at: &mut dyn FnMut(u64) -> u64) -> Result<()>;

    /// Flushes, with nothing else in flight.
    fn flush(&mut self) -> Result<()>;

    /// Writes `count` times, the n-th where `at` says, and flushes after each.
    fn flushed(&mut self, count: u64, at: &mut dyn FnMut(u64) -> u64) -> Result<()> {
        (0..count).try_for_each(|index| {
            self.run(Kind::Write, 1, &mut |_| at(index))?;
            self.flush()
        })
    }
}
