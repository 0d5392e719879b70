//! `offshoot disk serve` and programs we did not write: libnbd's tools, fio, QEMU, and the
//! checkers of three file systems.

mod clients;
#[path = "../common/mod.rs"]
mod common;
mod crash;
mod fuse;
mod life;
mod readers;
mod support;
mod vhost_user;
