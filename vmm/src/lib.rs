//! A machine: from its spec, through KVM, to its exit.

mod exit;
pub mod spec;

pub use exit::Exit;
pub use spec::Spec;
