//! A client for tests. It waits for each answer unless told otherwise, and believes the server.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::nbd::protocol::{
    ALLOCATION, CHUNK_MAGIC, OPTION_MAGIC, REQUEST_MAGIC, SIMPLE_REPLY_MAGIC, chunk, command,
    option, option_reply,
};

/// How a client wants to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By simple replies.
    Simple,
    /// By chunks, with block status.
    Structured,
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    /// The connection itself, for what no client would do.
    pub stream: UnixStream,
    /// The export's length in bytes.
    pub size: u64,
    /// Its transmission flags.
    pub flags: u16,
    next_cookie: u64,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of which request.
    pub cookie: u64,
    /// The data, or the error's number.
    pub result: Result<Vec<u8>, u32>,
}

impl Client {
    /// Connects to the default export of the server on `socket`.
    ///
    /// # Errors
    /// There is no server, or it is not ours.
    pub fn connect(socket: &Path, mode: Mode) -> io::Result<Client> {
        Client::over(UnixStream::connect(socket)?, mode)
    }

    /// As [`connect`](Client::connect), on a connection that is there.
    ///
    /// # Errors
    /// As [`connect`](Client::connect).
    pub fn over(stream: UnixStream, mode: Mode) -> io::Result<Client> {
        let mut client = Client::greeted(stream)?;
        if mode == Mode::Structured {
            client.ask(option::STRUCTURED_REPLY, &[])?;
            let mut query = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 15];
            query.extend(ALLOCATION.as_bytes());
            client.ask(option::SET_META_CONTEXT, &query)?;
        }
        for (kind, data) in client.ask(option::GO, &[0; 6])? {
            if let (option_reply::INFO, [0, 0, size @ .., high, low]) = (kind, data.as_slice()) {
                client.size = u64::from_be_bytes(size.try_into().map_err(io::Error::other)?);
                client.flags = u16::from_be_bytes([*high, *low]);
            }
        }
        Ok(client)
    }

    /// A connection of which nothing but the greeting has been exchanged.
    ///
    /// # Errors
    /// The server is not ours.
    pub fn greeted(mut stream: UnixStream) -> io::Result<Client> {
        stream.read_exact(&mut [0; 18])?;
        stream.write_all(&3u32.to_be_bytes())?;
        Ok(Client { stream, size: 0, flags: 0, next_cookie: 1 })
    }

    /// Sends an option and returns all answers to it, the last one included.
    ///
    /// # Errors
    /// The server is gone.
    pub fn ask(&mut self, option: u32, body: &[u8]) -> io::Result<Vec<(u32, Vec<u8>)>> {
        let len = u32::try_from(body.len()).map_err(io::Error::other)?;
        let mut message = OPTION_MAGIC.to_be_bytes().to_vec();
        message.extend(option.to_be_bytes());
        message.extend(len.to_be_bytes());
        message.extend(body);
        self.stream.write_all(&message)?;
        let mut answers = Vec::new();
        loop {
            let [_, _, _, kind, len] = self.words()?;
            let last = kind == option_reply::ACK || kind >> 31 == 1;
            answers.push((kind, self.bytes(len)?));
            if last {
                return Ok(answers);
            }
        }
    }

    /// Sends a request and does not wait. Returns its cookie.
    ///
    /// # Errors
    /// The server is gone.
    pub fn send(
        &mut self,
        kind: u16,
        flags: u16,
        offset: u64,
        len: u32,
        data: &[u8],
    ) -> io::Result<u64> {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        let mut message = REQUEST_MAGIC.to_be_bytes().to_vec();
        message.extend(flags.to_be_bytes());
        message.extend(kind.to_be_bytes());
        message.extend(cookie.to_be_bytes());
        message.extend(offset.to_be_bytes());
        message.extend(len.to_be_bytes());
        message.extend(data);
        self.stream.write_all(&message)?;
        Ok(cookie)
    }

    /// The next answer. `len` is how much data a simple reply has.
    ///
    /// # Errors
    /// The server is gone, or babbles.
    pub fn receive(&mut self, len: u32) -> io::Result<Answer> {
        let [magic, first, high, low] = self.words()?;
        let cookie = u64::from(high) << 32 | u64::from(low);
        if magic == SIMPLE_REPLY_MAGIC {
            let result = if first == 0 { Ok(self.bytes(len)?) } else { Err(first) };
            return Ok(Answer { cookie, result });
        }
        let [len] = self.words()?;
        let data = self.bytes(len)?;
        let error = data.first_chunk().map_or(u32::MAX, |bytes| u32::from_be_bytes(*bytes));
        let result = match first.to_be_bytes() {
            _ if magic != CHUNK_MAGIC => Err(u32::MAX),
            [.., high, low] => match u16::from_be_bytes([high, low]) {
                chunk::OFFSET_DATA => Ok(data.get(8..).unwrap_or_default().to_vec()),
                chunk::BLOCK_STATUS => Ok(data.get(4..).unwrap_or_default().to_vec()),
                chunk::NONE => Ok(Vec::new()),
                _ => Err(error),
            },
        };
        Ok(Answer { cookie, result })
    }

    /// Sends a request and waits for its answer, which must be the next.
    ///
    /// # Errors
    /// The server is gone.
    pub fn call(
        &mut self,
        kind: u16,
        flags: u16,
        offset: u64,
        len: u32,
    ) -> io::Result<Result<Vec<u8>, u32>> {
        self.send(kind, flags, offset, len, &[])?;
        Ok(self.receive(if kind == command::READ { len } else { 0 })?.result)
    }

    /// Reads.
    ///
    /// # Errors
    /// The server is gone.
    pub fn read(&mut self, offset: u64, len: u32) -> io::Result<Result<Vec<u8>, u32>> {
        self.call(command::READ, 0, offset, len)
    }

    /// Writes.
    ///
    /// # Errors
    /// The server is gone.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<Result<(), u32>> {
        let len = u32::try_from(data.len()).map_err(io::Error::other)?;
        self.send(command::WRITE, 0, offset, len, data)?;
        Ok(self.receive(0)?.result.map(drop))
    }

    /// Flushes.
    ///
    /// # Errors
    /// The server is gone.
    pub fn flush(&mut self) -> io::Result<Result<(), u32>> {
        Ok(self.call(command::FLUSH, 0, 0, 0)?.map(drop))
    }

    fn words<const N: usize>(&mut self) -> io::Result<[u32; N]> {
        let mut words = [0; N];
        for word in &mut words {
            let mut bytes = [0; 4];
            self.stream.read_exact(&mut bytes)?;
            *word = u32::from_be_bytes(bytes);
        }
        Ok(words)
    }

    fn bytes(&mut self, len: u32) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
