//! Disks that are exported while their VMs run, or are snapshots.

use std::fs;
use std::path::PathBuf;

use crate::common::kvm;
use crate::common::store::{Follower, Store};
use crate::support::{
    assert_tidy, base_file, json, kernel_file, obeys, refuses, state, text, tiny, written,
};

/// A store with the image of [`tiny`] under another name.
fn colleague() -> Store {
    let store = Store::new();
    let (base, kernel) = (base_file(&store), kernel_file(&store));
    store.ok(["image", "import", text(&base), "--name", "mine", "--kernel", text(&kernel)]);
    store
}

/// The last number a guest said it had flushed.
fn stamps(store: &Store) -> u64 {
    let console = store.ok(["logs", "web"]);
    let (whole, _) = console.rsplit_once('\n').expect("a line");
    let mut lines = whole.lines().filter_map(|line| line.strip_prefix("guest: flushed "));
    lines.next_back().and_then(|number| number.trim().parse().ok()).expect("it said so")
}

fn file(store: &Store, name: &str) -> PathBuf {
    store.folder().join(name)
}

#[test]
fn a_running_vm_is_exported_as_a_power_cut_would_leave_it_and_is_then_as_before() {
    if !kvm("export of a running VM") {
        return;
    }
    let (here, there) = (tiny(), colleague());
    here.ok(["clone", "tiny", "web", "--memory=64M"]);
    let orders = "write:1:range=64k+64k,flush,stamp:blocks=8";
    here.ok(["start", "web", "--cmdline", &format!("offshoot.do={orders}")]);
    let mut console = Follower::new(&here, "web");
    console.wait_for("guest: flushed 20");
    let before = stamps(&here);
    let [sealed, raw] = ["web.sealed", "web.raw"].map(|name| file(&here, name));
    here.ok(["export", "web", "-o", text(&sealed)]);
    let after = stamps(&here);
    here.ok(["export", "web", "--flat", "-o", text(&raw)]);
    console.wait_for(&format!("guest: flushed {}", after + 20));
    assert_eq!(here.inspect("web")["lineage"], serde_json::json!(["tiny"]));
    assert_eq!(json(&here, ["snapshot", "ls", "web"]), serde_json::json!([]));
    here.ok(["stop", "--force", "web"]);
    let verify = |number| format!("verify:1:range=64k+64k,verify-stamps:{number}:blocks=8");
    obeys(&here, "web", &verify(stamps(&here)));
    there.ok(["attach", text(&sealed), "--name", "copy"]);
    let fits = (before..=after + 1).any(|number| {
        there.ok(["start", "copy", "--cmdline", &format!("offshoot.do={}", verify(number))]);
        there.ok(["wait", "-q", "copy"]) == "0\n"
    });
    assert!(fits, "it is no state between {before} and {after}");
    let kernel = kernel_file(&there);
    there.ok(["image", "import", text(&raw), "--name", "flat", "--kernel", text(&kernel)]);
    there.ok(["clone", "flat", "whole", "--memory=64M"]);
    obeys(&there, "whole", "verify:1:range=64k+64k");
    assert_tidy(&here);
    assert_tidy(&there);
}

#[test]
fn a_snapshot_is_exported_while_its_vm_runs_and_is_what_a_clone_of_it_is() {
    if !kvm("export of a snapshot") {
        return;
    }
    let (store, there) = (written(), colleague());
    store.ok(["clone", "web@s1", "copy"]);
    store.ok(["start", "web", "--cmdline", "offshoot.do=idle"]);
    let flat = |of: &str| {
        let path = file(&store, "flat");
        store.ok(["export", of, "--flat", "--force", "-o", text(&path)]);
        fs::read(path).expect("a disk")
    };
    let (snapshot, clone) = (flat("web@s1"), flat("copy"));
    assert!(snapshot == clone, "the snapshot is not what its clone is");
    assert!(flat("web") != snapshot, "the VM wrote since");
    let sealed = file(&store, "s1.sealed");
    store.ok(["export", "web@s1", "-o", text(&sealed)]);
    assert_eq!(state(&store, "web"), "running");
    there.ok(["attach", text(&sealed), "--name", "s1"]);
    obeys(&there, "s1", "verify:1:range=0+64k");
    refuses(&store, 3, ["export", "web@s9", "-o", "x"], "web has no snapshot s9");
    store.ok(["stop", "--force", "web"]);
    assert_tidy(&store);
}

#[test]
fn a_momentary_snapshot_takes_no_name_that_is_taken() {
    if !kvm("export of a running VM") {
        return;
    }
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--memory=64M"]);
    store.ok(["snapshot", "create", "web", "export-1"]);
    store.ok(["start", "web", "--cmdline", "offshoot.do=idle"]);
    store.ok(["export", "web", "-o", text(&file(&store, "web.sealed"))]);
    let left = json(&store, ["snapshot", "ls", "web"]);
    assert_eq!(left.as_array().map(Vec::len), Some(1), "{left}");
    assert_eq!(left[0]["name"], "export-1");
    store.ok(["stop", "--force", "web"]);
}
