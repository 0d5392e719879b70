//! For tests: a client that does as it is told, wrong things included, and the parsers alone.

mod client;
mod fuzz;

pub use client::{Answer, Client, Mode};
pub use fuzz::{fuzz, parse_anything};

/// Numbers a test may want to send.
pub mod numbers {
    pub use crate::nbd::protocol::{
        LARGEST_PAYLOAD, OPTION_MAGIC, REQUEST_MAGIC, chunk, command, command_flag, option,
        option_reply, state, transmission_flag,
    };
}
