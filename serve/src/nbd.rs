//! The network block device protocol, as
//! <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md> has it: fixed newstyle
//! negotiation, simple and structured replies, `base:allocation`. No TLS: it is for unix sockets.
//!
//! ```text
//!   socket ─► handshake ─► terms
//!          ─► receiver ─► request ─► flights ─► Disk          budget: how much at a time
//!          ◄─ outbox   ◄─ reply   ◄─┘
//! ```
//!
//! `handshake`, `receiver`, `request`, `reply`, `outbox` and `budget` are values: bytes in, values
//! out. `connection` adds socket and disk, `server` the threads. References to sections are to the
//! document above.

mod budget;
mod bytes;
mod connection;
mod export;
mod flights;
mod handshake;
mod options;
mod outbox;
mod protocol;
mod receiver;
mod reply;
mod request;
mod server;
mod status;
#[cfg(any(test, feature = "test-support"))]
pub mod testing;

pub use export::Export;
pub use handshake::Violation;
pub use server::serve;

#[cfg(test)]
mod tests;
