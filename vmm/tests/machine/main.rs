//! Whole machines on the host's own KVM.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod console;
mod disk;
mod layers;
mod life;
mod support;
