//! Requests (proto.md, "Request message", "Request types"): 28 bytes to a command, or to the reason
//! it is refused for.

use std::ops::Range;

use super::bytes::Bytes;
use super::export::{Export, Terms};
use super::handshake::Violation;
use super::protocol::{LARGEST_PAYLOAD, LEAST_BLOCK, REQUEST_MAGIC, command, command_flag as flag};

/// The header as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `NBD_CMD_FLAG_*`.
    pub flags: u16,
    /// `NBD_CMD_*`.
    pub kind: u16,
    /// Chosen by the client; comes back with the reply.
    pub cookie: u64,
    /// Where on the disk, bytes.
    pub offset: u64,
    /// How much, bytes.
    pub len: u32,
}

/// A request in order: ranges are whole sectors of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send these bytes.
    Read(Range<u64>),
    /// Store what follows.
    Write {
        /// Where.
        range: Range<u64>,
        /// Durable before the reply.
        durable: bool,
    },
    /// Make durable what was written.
    Flush,
    /// These bytes are needed no more.
    Trim {
        /// Where.
        range: Range<u64>,
        /// Durable before the reply.
        durable: bool,
    },
    /// Store zeroes.
    Zero {
        /// Where.
        range: Range<u64>,
        /// Durable before the reply.
        durable: bool,
        /// They may give their room back.
        hole: bool,
    },
    /// Tell what is data and what is zero.
    Status {
        /// Where.
        range: Range<u64>,
        /// No more than the first extent.
        one: bool,
    },
    /// Finish what there is and leave.
    Disconnect,
}

/// Why a request was refused or failed (proto.md, "Error values").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Errno {
    /// The disk is read-only.
    Permission = 1,
    /// Input or output failed.
    Io = 5,
    /// The request makes no sense.
    Invalid = 22,
    /// No room.
    NoSpace = 28,
    /// It can be done, but not as asked.
    Unsupported = 95,
    /// The connection ends before it is done.
    ShuttingDown = 108,
}

impl Header {
    /// Bytes of a header.
    pub const LEN: usize = 28;

    /// Takes a header apart.
    ///
    /// # Errors
    /// It is none: nobody knows where the next begins.
    pub fn parse(bytes: &[u8; Header::LEN]) -> Result<Header, Violation> {
        let mut bytes = Bytes(bytes);
        let magic = bytes.u32().unwrap_or_default();
        let header = || {
            Some(Header {
                flags: bytes.u16()?,
                kind: bytes.u16()?,
                cookie: bytes.u64()?,
                offset: bytes.u64()?,
                len: bytes.u32()?,
            })
        };
        let mut header = header;
        header().filter(|_| magic == REQUEST_MAGIC).ok_or(Violation::RequestMagic(magic))
    }

    /// Bytes of data that follow the header, whatever becomes of the request.
    pub fn payload(&self) -> u32 {
        if self.kind == command::WRITE { self.len } else { 0 }
    }

    /// What is asked for.
    ///
    /// # Errors
    /// What to answer instead.
    pub fn check(&self, export: &Export, terms: Terms) -> Result<Command, Errno> {
        if self.flags & !self.known_flags(terms) != 0 {
            return Err(Errno::Invalid);
        }
        let durable = self.has(flag::FUA) && !export.read_only;
        match self.kind {
            command::DISC => Ok(Command::Disconnect),
            command::FLUSH => Ok(Command::Flush),
            command::READ => Ok(Command::Read(self.bounded(export, Errno::Invalid)?)),
            command::BLOCK_STATUS if terms.allocation && self.len > 0 => {
                let range = self.range(export, Errno::Invalid)?;
                Ok(Command::Status { range, one: self.has(flag::REQ_ONE) })
            }
            command::WRITE | command::TRIM | command::WRITE_ZEROES if export.read_only => {
                Err(Errno::Permission)
            }
            command::WRITE => {
                Ok(Command::Write { range: self.bounded(export, Errno::NoSpace)?, durable })
            }
            command::TRIM => {
                Ok(Command::Trim { range: self.range(export, Errno::Invalid)?, durable })
            }
            command::WRITE_ZEROES => {
                let range = self.range(export, Errno::NoSpace)?;
                let hole = !self.has(flag::NO_HOLE);
                // Only holes are faster than writing.
                if !hole && self.has(flag::FAST_ZERO) {
                    return Err(Errno::Unsupported);
                }
                Ok(Command::Zero { range, durable, hole })
            }
            _ => Err(Errno::Invalid),
        }
    }

    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// The flags this kind of request may have. FUA is for all (section "Command flags").
    fn known_flags(&self, terms: Terms) -> u16 {
        flag::FUA
            | match self.kind {
                command::READ if terms.structured => flag::DF,
                command::WRITE_ZEROES => flag::NO_HOLE | flag::FAST_ZERO,
                command::BLOCK_STATUS => flag::REQ_ONE,
                _ => 0,
            }
    }

    /// The range of a request with data.
    fn bounded(&self, export: &Export, outside: Errno) -> Result<Range<u64>, Errno> {
        if self.len > LARGEST_PAYLOAD {
            return Err(Errno::Invalid);
        }
        self.range(export, outside)
    }

    fn range(&self, export: &Export, outside: Errno) -> Result<Range<u64>, Errno> {
        let least = u64::from(LEAST_BLOCK);
        let len = u64::from(self.len);
        if !self.offset.is_multiple_of(least) || !len.is_multiple_of(least) {
            return Err(Errno::Invalid);
        }
        let end = self.offset.checked_add(len).filter(|&end| end <= export.size);
        end.map(|end| self.offset..end).ok_or(outside)
    }
}

impl From<&blockdev::Error> for Errno {
    fn from(error: &blockdev::Error) -> Self {
        match error.kind() {
            blockdev::ErrorKind::NoSpace => Errno::NoSpace,
            blockdev::ErrorKind::ReadOnly => Errno::Permission,
            blockdev::ErrorKind::Invalid => Errno::Invalid,
            _ => Errno::Io,
        }
    }
}
