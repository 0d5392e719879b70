//! What is served, and what a client and we agreed on.

use super::protocol::transmission_flag as flag;

/// A disk as clients are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its name, at most 4096 bytes. The empty name means it, too.
    pub name: String,
    /// A line for people.
    pub description: String,
    /// Its length in bytes, a multiple of 512.
    pub size: u64,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// What was negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Replies may be chunks.
    pub structured: bool,
    /// `base:allocation` may be asked for.
    pub allocation: bool,
}

impl Export {
    /// Whether a client means this one.
    pub fn is_called(&self, name: &str) -> bool {
        name.is_empty() || name == self.name
    }

    /// What it can do (proto.md, "Transmission flags").
    ///
    /// Any connection may flush for all: the disks are on one stack, whose flush covers every
    /// write that any of them has reported done.
    pub fn flags(&self, terms: Terms) -> u16 {
        let mut flags = flag::HAS_FLAGS | flag::SEND_FLUSH | flag::SEND_FUA | flag::CAN_MULTI_CONN;
        flags |= if self.read_only {
            flag::READ_ONLY
        } else {
            flag::SEND_TRIM | flag::SEND_WRITE_ZEROES | flag::SEND_FAST_ZERO
        };
        if terms.structured {
            flags |= flag::SEND_DF;
        }
        flags
    }
}
