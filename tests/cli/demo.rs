//! `demo`: what its table promises is true, and Ctrl-C leaves nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::kvm;
use crate::common::store::{Store, finish};

/// The demo, with all it makes under the store's folder.
fn demo<const N: usize>(store: &Store, more: [&str; N]) -> Command {
    let mut command = store.command(["demo"].into_iter().chain(more));
    command.env("TMPDIR", store.folder());
    command
}

fn left(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names.map(|name| name.to_string_lossy().into_owned()).filter(|n| n != "offshoot").collect()
}

#[test]
fn every_clone_finds_its_own_data_twice_and_the_base_is_unchanged() {
    if !kvm("demo") {
        return;
    }
    let store = Store::new();
    let output = finish(demo(&store, ["-n", "3", "--format", "json"]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let clones = report["clones"].as_array().expect("a list");
    assert_eq!(clones.len(), 3);
    for clone in clones {
        assert_eq!(clone["verified"], true, "{clone}");
        assert!(clone["create_ms"].as_f64().expect("a time") > 0.0);
        assert!(clone["first_instruction_ms"].as_f64().expect("a time") > 0.0);
        assert!(clone["delta_bytes"].as_u64().expect("a size") > 0);
    }
    assert_eq!(report["base"]["unchanged"], true);
    let size = |key: &str| report[key].as_u64().expect("a size");
    assert!(size("real_bytes") < size("virtual_bytes"), "{report}");
    assert_eq!(left(store.folder()), [""; 0]);
}

#[test]
fn the_table_ends_with_one_line_that_sums_up() {
    if !kvm("demo") {
        return;
    }
    let store = Store::new();
    let output = finish(demo(&store, ["-n", "1"]));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.starts_with("CLONE"), "{text}");
    let last = text.lines().last().expect("a line");
    assert!(
        last.starts_with("base unchanged (") && last.contains("1 of 1 clones verified"),
        "{last}"
    );
}

#[test]
fn ctrl_c_during_the_demo_ends_its_machines_and_removes_its_store() {
    if !kvm("Ctrl-C during demo") {
        return;
    }
    let store = Store::new();
    let child = demo(&store, ["-n", "16"]).spawn().expect("it starts");
    // It is in the middle of it once a monitor has made a socket.
    let sockets = store.folder().join("offshoot");
    let in_the_middle = || fs::read_dir(&sockets).is_ok_and(|entries| entries.count() > 0);
    while !in_the_middle() {
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::INT).expect("it is ours");
    let output = child.wait_with_output().expect("it ended");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(left(store.folder()), [""; 0]);
    assert_eq!(fs::read_dir(&sockets).expect("the folder").count(), 0);
}
