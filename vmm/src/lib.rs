//! A machine: from its spec, through KVM, to its exit.

pub mod boot;
mod exit;
pub mod layout;
pub mod memory;
pub mod power;
pub mod spec;

pub use exit::Exit;
pub use spec::Spec;
