//! An NBD client that does not get in the way: what is ready goes out in one call and comes in in one.

use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serve::nbd::testing::numbers::{REQUEST_MAGIC, command};
use serve::nbd::testing::{Client as Negotiator, Mode};

use crate::client::Client;
use crate::layout::BLOCK;
use crate::queue::Kind;
use crate::report::Result;

/// Of a simple reply.
const MAGIC: u32 = 0x6744_6698;
const HEAD: usize = 16;

/// A connection with so many requests in flight.
pub struct Connection {
    stream: UnixStream,
    replies: BufReader<UnixStream>,
    requests: Vec<u8>,
    block: Vec<u8>,
    depth: u64,
}

impl Connection {
    pub fn open(socket: &Path, depth: usize) -> Result<Connection> {
        let stream = Negotiator::connect(socket, Mode::Simple)?.stream;
        let replies = BufReader::with_capacity(256 << 10, stream.try_clone()?);
        let block = vec![0x5a; usize::try_from(BLOCK)?];
        Ok(Connection { stream, replies, requests: Vec::new(), block, depth: depth as u64 })
    }

    fn request(&mut self, kind: u16, cookie: u64, offset: u64, len: u64) -> Result<()> {
        self.requests.extend(REQUEST_MAGIC.to_be_bytes());
        self.requests.extend([0; 2]);
        self.requests.extend(kind.to_be_bytes());
        self.requests.extend(cookie.to_be_bytes());
        self.requests.extend(offset.to_be_bytes());
        self.requests.extend(u32::try_from(len)?.to_be_bytes());
        if kind == command::WRITE {
            self.requests.extend(&self.block);
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        self.stream.write_all(&self.requests)?;
        self.requests.clear();
        Ok(())
    }

    /// Takes the next reply, with a block of data where it has one.
    fn reply(&mut self, data: bool) -> Result<()> {
        let mut head = [0; HEAD];
        self.replies.read_exact(&mut head)?;
        let expected = [&MAGIC.to_be_bytes()[..], &[0; 4]].concat();
        if head[..8] != expected {
            return Err(format!("the server answered {head:?}").into());
        }
        if data {
            self.replies.read_exact(&mut self.block)?;
        }
        Ok(())
    }
}

impl Client for Connection {
    fn run(&mut self, kind: Kind, count: u64, at: &mut dyn FnMut(u64) -> u64) -> Result<()> {
        let command = if kind == Kind::Read { command::READ } else { command::WRITE };
        let (mut given, mut left) = (0, count);
        while left > 0 {
            while given < count && given < count - left + self.depth {
                self.request(command, given, at(given), BLOCK)?;
                given += 1;
            }
            self.send()?;
            self.reply(kind == Kind::Read)?;
            left -= 1;
            // Those that came with it.
            while self.replies.buffer().len() >= HEAD && left > 0 {
                self.reply(kind == Kind::Read)?;
                left -= 1;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.request(command::FLUSH, 0, 0, 0)?;
        self.send()?;
        self.reply(false)
    }
}
