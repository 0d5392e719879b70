//! A disk of layers for other programs: a server on a unix socket.
//!
//! ```text
//!   nbdcopy, fio, qemu-img ──► socket ──► connection ── Disk ┐
//!                                    ├──► connection ── Disk ┼─ one Stack
//!                                    └──► connection ── Disk ┘
//! ```
//!
//! [`Socket`] is the file clients find, [`nbd`] what is spoken there. What a client may do wrong is
//! answered with an error or with the end of its connection; it never concerns another one.
//!
//! This crate knows blockdev; it knows neither the store nor KVM. docs/serving.md is for people.
#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "tests make small numbers"))]

mod error;
pub mod nbd;
mod served;
mod socket;
pub mod vhost_user;
mod wire;

pub use error::{Error, Result};
pub use served::{OnFull, Served};
pub use socket::Socket;
