//! A machine: from its spec, through KVM, to its exit.
//!
//! ```text
//!   Spec ──► Machine ──► run: vCPU threads + event loop ──► Exit
//!              │                        │
//!              │ memory, boot, vm,      │ control: HTTP on a unix socket
//!              │ cpu, interrupt,        │ console: serial port to log and clients
//!              │ devices on buses       │ signals
//! ```
//!
//! [`run`] is all a monitor process does. It knows one machine; names, the store and other
//! machines are its caller's business.

pub mod boot;
mod console;
pub mod control;
mod cpu;
mod error;
mod exit;
mod interrupt;
pub mod kvm;
pub mod layers;
pub mod layout;
mod machine;
pub mod memory;
mod poll;
pub mod power;
mod run;
mod signal;
pub mod spec;
mod trim;
pub mod trouble;
mod vm;

pub use console::LOG_CUT as CONSOLE_LOG_CUT;
pub use error::{Error, Result};
pub use exit::Exit;
pub use run::{Happening, Shell, Witness, run};
pub use spec::Spec;
