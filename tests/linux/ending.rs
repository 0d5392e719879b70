//! How a Linux machine ends, and what its status says of it.

use crate::common::store::Store;
use crate::guest::{Machine, said};

/// As `vmm::Exit::Reset` has it.
const RESET: u8 = 120;

pub fn power_button_reaches_the_guest(store: &Store) {
    let mut server = Machine::clone(store, "server", 1);
    server.start("await_power_button; say told to go");
    server.says("listening");
    store.ok(["stop", "--timeout", "120s", "server"]);
    assert_eq!(said(&server.ends(0)), ["listening", "told to go"]);
}

pub fn reboot_ends_with_reset(store: &Store) {
    let mut restarted = Machine::clone(store, "restarted", 2);
    restarted.start("say going; drain; reboot -f");
    assert_eq!(said(&restarted.ends(RESET)), ["going"]);
}

pub fn panic_ends_with_reset(store: &Store) {
    let mut wrecked = Machine::clone(store, "wrecked", 1);
    wrecked.start("echo c > /proc/sysrq-trigger");
    let console = wrecked.ends(RESET);
    assert!(console.contains("Kernel panic - not syncing: sysrq triggered crash"), "{console}");
}
