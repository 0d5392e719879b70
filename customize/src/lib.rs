//! Making a clone a machine of its own: what people want (a *spec*, TOML) and who the clone is (a
//! [`Guest`]) become a disk image for cloud-init and words for the kernel command line.
//!
//! ```text
//!   spec.toml ── parse ──► Wanted ─┐
//!                                  ├─ plan ──► Plan ─┬─ cloud ──► JSON ── fat ──► seed image
//!   name, number, mac, uuid ───────┘                 └─ cmdline ──► words
//! ```
//! Bytes in, bytes out: no file is opened here, and the same input always makes the same output.
//! The spec's keys, and what each does in the guest, are in docs/customization.md.

mod check;
mod cloud;
mod cmdline;
mod error;
mod fat;
mod guest;
pub mod hostname;
mod mac;
mod network;
mod plan;
mod source;
mod spec;
mod template;
mod wanted;
mod yaml;

pub use error::{Error, Result};
pub use guest::Guest;
pub use mac::Mac;
pub use spec::{Rendered, Spec};

#[cfg(test)]
mod tests;
