//! Ephemeral clones: clean at every start.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::kvm;
use crate::common::store::{Follower, Store, finish};
use crate::support::{assert_tidy, dir, json, obeys, refuses, text, tiny};

/// A store with the image `tiny` and an ephemeral clone `web` of it.
fn web() -> Store {
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--ephemeral", "--memory=64M"]);
    store
}

#[test]
fn an_ephemeral_clone_is_clean_at_every_start() {
    if !kvm("ephemeral clones") {
        return;
    }
    let store = web();
    assert_eq!(store.inspect("web")["vm"]["ephemeral"], true);
    let uuid = store.inspect("web")["vm"]["uuid"].clone();
    for _ in 0..2 {
        obeys(&store, "web", "verify-base,write:1,flush,verify:1");
        let delta = store.inspect("web")["delta"].clone();
        assert_eq!(delta["owned_blocks"], 0, "nothing of it outlasts the run: {delta}");
    }
    store.ok(["start", "web", "--cmdline", "offshoot.do=idle"]);
    let bytes = dir(&store, "web").join("delta").metadata().expect("a delta").blocks() * 512;
    assert!(bytes <= 64 << 10, "the space of the last run is free again: {bytes}");
    store.ok(["stop", "--force", "web"]);
    assert_eq!(store.inspect("web")["vm"]["uuid"], uuid);
    assert_tidy(&store);
}

#[test]
fn an_ephemeral_clone_whose_monitor_was_killed_is_clean_as_well() {
    if !kvm("a killed ephemeral clone") {
        return;
    }
    let store = web();
    store.ok(["start", "web", "--cmdline", "offshoot.do=write:1,flush,print:flushed,spin"]);
    Follower::new(&store, "web").wait_for("guest: flushed");
    let pid = store.inspect("web")["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    kill_process(Pid::from_raw(pid.expect("it runs")).expect("a process"), Signal::KILL)
        .expect("it is ours");
    store.ok(["wait", "web"]);
    obeys(&store, "web", "verify-base");
    assert_tidy(&store);
}

#[test]
fn a_snapshot_of_a_running_ephemeral_clone_keeps_what_it_wrote() {
    if !kvm("a snapshot of an ephemeral clone") {
        return;
    }
    let store = web();
    let orders = "offshoot.do=write:1:range=0+64k,print:written,sleep:0.2,idle";
    store.ok(["start", "web", "--cmdline", orders]);
    Follower::new(&store, "web").wait_for("guest: written");
    store.ok(["snapshot", "create", "web", "kept"]);
    store.ok(["stop", "--force", "web"]);
    // Clean is from now on what it was then.
    let orders = "verify:1:range=0+64k,verify-base:range=64k+,write:2,flush";
    obeys(&store, "web", orders);
    obeys(&store, "web", orders);
    store.ok(["clone", "web@kept", "copy"]);
    assert_eq!(store.inspect("copy")["vm"]["ephemeral"], false, "a clone is not, unless asked to");
    obeys(&store, "copy", "verify:1:range=0+64k,verify-base:range=64k+");
    assert_tidy(&store);
}

#[test]
fn an_ephemeral_clone_that_was_cloned_while_it_ran_is_clean_as_well() {
    if !kvm("clones of a running ephemeral clone") {
        return;
    }
    let store = web();
    let cloned = |copy: &str| {
        let orders = "offshoot.do=verify-base,write:1:range=0+64k,flush,print:written,idle";
        store.ok(["start", "web", "--cmdline", orders]);
        Follower::new(&store, "web").wait_for("guest: written");
        store.ok(["clone", "web", copy]);
        store.ok(["stop", "--force", "web"]);
    };
    cloned("copy");
    store.ok(["clone", "web", "later"]);
    cloned("copy-2");
    store.ok(["export", "web", "-o", text(&store.folder().join("web.sealed"))]);
    assert_eq!(store.inspect("web")["lineage"], serde_json::json!(["tiny"]));
    cloned("copy-3");
    obeys(&store, "web", "verify-base");
    obeys(&store, "later", "verify-base");
    obeys(&store, "copy-2", "verify:1:range=0+64k,verify-base:range=64k+");
    store.ok(["rm", "copy", "copy-2", "copy-3"]);
    assert!(json(&store, ["tree"])[0]["layers"].as_array().is_some_and(Vec::is_empty));
    assert_tidy(&store);
}

#[test]
fn a_snapshot_that_died_does_not_keep_an_ephemeral_clone_from_being_clean() {
    if !kvm("an ephemeral clone after a snapshot that died") {
        return;
    }
    let store = web();
    obeys(&store, "web", "write:1,flush");
    let mut dies = store.command(["snapshot", "create", "web"]);
    dies.env("OFFSHOOT_TEST_DIE_AT", "layer-published");
    assert_eq!(finish(dies).status.code(), None);
    obeys(&store, "web", "verify-base");
    store.ok(["snapshot", "create", "web"]);
    obeys(&store, "web", "verify-base");
    assert_tidy(&store);
}

#[test]
fn an_export_that_was_killed_changes_nothing_of_what_is_clean_and_is_named_by_doctor() {
    if !kvm("a killed export of an ephemeral clone") {
        return;
    }
    let store = web();
    store.ok(["start", "web", "--cmdline", "offshoot.do=write:1,flush,print:written,idle"]);
    Follower::new(&store, "web").wait_for("guest: written");
    let mut dies = store.command(["export", "web", "-o", text(&store.folder().join("x"))]);
    dies.env("OFFSHOOT_TEST_DIE_AT", "layer-indexed");
    assert_eq!(finish(dies).status.code(), None);
    store.ok(["stop", "--force", "web"]);
    obeys(&store, "web", "verify-base");
    let report = store.ok(["doctor"]);
    assert!(report.contains("web@export-1 was made for an export, which was killed"), "{report}");
    assert!(report.contains("try: offshoot snapshot rm web export-1"), "{report}");
    store.ok(["snapshot", "rm", "web", "export-1"]);
    assert_tidy(&store);
}

#[test]
fn an_ephemeral_clone_stays_on_what_it_is_to_be_like() {
    let store = web();
    refuses(&store, 4, ["flatten", "web"], "cannot flatten web: it is ephemeral");
    refuses(&store, 4, ["promote", "web"], "try: offshoot clone --full web");
    let both = ["clone", "--full", "--ephemeral", "tiny"];
    refuses(&store, 2, both, "the argument '--full' cannot be used with '--ephemeral'");
    store.ok(["rm", "web"]);
    assert_tidy(&store);
}

#[test]
fn what_run_rm_runs_never_waits_for_the_disk() {
    if !kvm("run --rm") {
        return;
    }
    let store = tiny();
    let orders = "offshoot.do=write:1,flush,print:written,idle";
    let mut run =
        store.command(["run", "--rm", "tiny", "web", "--memory=64M", "--cmdline", orders]);
    let mut run = run.spawn().expect("it starts");
    // It is there once its console says so.
    let log = store.folder().join("root/vms");
    let written = || {
        let dirs = fs::read_dir(&log).into_iter().flatten().filter_map(Result::ok);
        let logs = dirs.filter_map(|dir| fs::read_to_string(dir.path().join("console.log")).ok());
        logs.into_iter().any(|log| log.contains("guest: written"))
    };
    while !written() {
        assert!(run.try_wait().expect("a child").is_none(), "it ended early");
        std::thread::yield_now();
    }
    assert_eq!(store.inspect("web")["vm"]["ephemeral"], true);
    store.ok(["stop", "--force", "web"]);
    run.wait().expect("it ended");
    assert_eq!(json(&store, ["ls"]), Value::Array(vec![]));
    assert_tidy(&store);
}
