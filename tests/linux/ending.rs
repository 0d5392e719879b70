//! How a Linux machine ends, and what its status says of it.

use crate::common::store::{Follower, Store};
use crate::guest::{Run, clone, said};

/// As `vmm::Exit::Reset` has it.
const RESET: u8 = 120;

pub fn power_button_reaches_the_guest(store: &Store) {
    clone(store, "server", 1);
    let run = Run::start(store, "server", "say up; await_power_button; say told to go");
    Follower::new(store, "server").wait_for("guest: up");
    store.ok(["stop", "--timeout", "120s", "server"]);
    assert_eq!(said(&run.ends(0)), ["up", "told to go"]);
}

pub fn reboot_ends_with_reset(store: &Store) {
    clone(store, "rebooted", 2);
    let run = Run::start(store, "rebooted", "say going; drain; reboot -f");
    assert_eq!(said(&run.ends(RESET)), ["going"]);
}

pub fn panic_ends_with_reset(store: &Store) {
    clone(store, "wrecked", 1);
    let console = Run::start(store, "wrecked", "echo c > /proc/sysrq-trigger").ends(RESET);
    assert!(console.contains("Kernel panic - not syncing: sysrq triggered crash"), "{console}");
}
