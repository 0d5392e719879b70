//! Replies (proto.md, "Simple reply message", "Structured reply chunk message").
//!
//! A success without data is a simple reply in either mode, which the protocol allows and is the
//! shortest.

use blockdev::Buffers;

use super::protocol::{ALLOCATION_ID, CHUNK_MAGIC, SIMPLE_REPLY_MAGIC, chunk};
use super::request::Errno;

/// Room for the longest head: a chunk's header and an offset.
const LONGEST_HEAD: usize = 28;

/// A reply on its way out: a head, and bytes after it.
#[derive(Debug)]
pub struct Reply {
    head: [u8; LONGEST_HEAD],
    head_len: usize,
    /// What follows the head.
    pub data: Option<Buffers>,
}

impl Reply {
    /// It was done.
    pub fn done(cookie: u64) -> Reply {
        Reply::simple(cookie, 0, None)
    }

    /// It was not done.
    pub fn error(cookie: u64, errno: Errno, structured: bool) -> Reply {
        let errno = errno as u32;
        if !structured {
            return Reply::simple(cookie, errno, None);
        }
        // The error and the length of the message, which there is none of.
        let mut body = [0; 6];
        body[..4].copy_from_slice(&errno.to_be_bytes());
        Reply::chunk(chunk::ERROR, cookie, &body, None)
    }

    /// Bytes read at `at`.
    pub fn data(cookie: u64, at: u64, data: Buffers, structured: bool) -> Reply {
        match structured {
            false => Reply::simple(cookie, 0, Some(data)),
            // A chunk of data has at least one byte.
            true if data.is_empty() => Reply::chunk(chunk::NONE, cookie, &[], None),
            true => Reply::chunk(chunk::OFFSET_DATA, cookie, &at.to_be_bytes(), Some(data)),
        }
    }

    /// Extents, each a length and its state.
    pub fn status(cookie: u64, extents: &[(u32, u32)]) -> Reply {
        let bytes =
            extents.iter().flat_map(|(len, state)| [len.to_be_bytes(), state.to_be_bytes()]);
        let data = Buffers::from_vec(bytes.flatten().collect());
        Reply::chunk(chunk::BLOCK_STATUS, cookie, &ALLOCATION_ID.to_be_bytes(), Some(data))
    }

    /// The head's bytes.
    pub fn head(&self) -> &[u8] {
        self.head.get(..self.head_len).unwrap_or_default()
    }

    /// The length of all of it, in bytes.
    pub fn len(&self) -> usize {
        self.head_len + self.data.as_ref().map_or(0, Buffers::len)
    }

    fn simple(cookie: u64, errno: u32, data: Option<Buffers>) -> Reply {
        let magic = SIMPLE_REPLY_MAGIC.to_be_bytes();
        Reply::new(&[&magic, &errno.to_be_bytes(), &cookie.to_be_bytes()], data)
    }

    /// The only chunk of a reply. `body` is the part of it that belongs to its type.
    fn chunk(kind: u16, cookie: u64, body: &[u8], data: Option<Buffers>) -> Reply {
        let len = body.len() + data.as_ref().map_or(0, Buffers::len);
        let len = u32::try_from(len).expect("no request is answered with more than 32 MiB");
        let parts: [&[u8]; 6] = [
            &CHUNK_MAGIC.to_be_bytes(),
            &chunk::FLAG_DONE.to_be_bytes(),
            &kind.to_be_bytes(),
            &cookie.to_be_bytes(),
            &len.to_be_bytes(),
            body,
        ];
        Reply::new(&parts, data)
    }

    fn new(parts: &[&[u8]], data: Option<Buffers>) -> Reply {
        let mut head = [0; LONGEST_HEAD];
        let mut head_len = 0;
        for part in parts {
            head[head_len..head_len + part.len()].copy_from_slice(part);
            head_len += part.len();
        }
        Reply { head, head_len, data }
    }
}
