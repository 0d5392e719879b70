//! How much one client may have going on, and memory that is used again.

use blockdev::Buffers;

use super::protocol::LARGEST_PAYLOAD;

/// Requests of one connection between their header and the last byte of their reply.
const MOST_REQUESTS: usize = 256;
/// Bytes of data of all these requests.
const MOST_BYTES: usize = LARGEST_PAYLOAD as usize;
/// Bytes of memory kept for the next requests.
const MOST_KEPT: usize = 16 << 20;

/// What a connection's requests take at the moment. Nothing more is read from a client that has
/// used it up, so a flood of requests and a client that does not read its replies cost no more.
#[derive(Debug, Default)]
pub struct Budget {
    requests: usize,
    bytes: usize,
}

impl Budget {
    /// Whether there is room for one more request, with so many bytes of data.
    pub fn admits(&self, bytes: usize) -> bool {
        self.requests < MOST_REQUESTS && bytes <= MOST_BYTES.saturating_sub(self.bytes)
    }

    /// One more request.
    pub fn take(&mut self, bytes: usize) {
        self.requests += 1;
        self.bytes += bytes;
    }

    /// A request has been answered.
    pub fn give_back(&mut self, bytes: usize) {
        self.requests = self.requests.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Buffers of requests that have been answered. Fresh memory of a large request costs more than
/// moving the bytes.
#[derive(Debug, Default)]
pub struct Pool {
    kept: Vec<Buffers>,
    bytes: usize,
}

impl Pool {
    /// Buffers of `len` bytes. What is in them is what this connection last had there.
    pub fn take(&mut self, len: usize) -> Buffers {
        match self.kept.iter().rposition(|buffers| buffers.len() == len) {
            Some(index) => {
                self.bytes -= len;
                self.kept.swap_remove(index)
            }
            None => Buffers::from_vec(vec![0; len]),
        }
    }

    /// Keeps buffers for the next request of their length, in place of older ones where there are
    /// too many.
    pub fn give_back(&mut self, buffers: Buffers) {
        if buffers.len() > MOST_KEPT / 4 || buffers.is_empty() {
            return;
        }
        self.bytes += buffers.len();
        self.kept.push(buffers);
        while self.bytes > MOST_KEPT || self.kept.len() > MOST_REQUESTS {
            self.bytes -= self.kept.remove(0).len();
        }
    }
}
