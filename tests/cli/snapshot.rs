//! Snapshots: taken, listed, gone back to, cloned and removed, of VMs that run and that do not.

use std::fs;
use std::path::PathBuf;

use crate::common::kvm;
use crate::common::store::{Follower, Store, ends, finish};
use crate::support::{assert_tidy, fails, json, obeys, refuses, state, text, tiny};

/// A VM `web` whose guest, at each start, does what it is ordered to.
fn web() -> Store {
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--memory=64M"]);
    store
}

/// The last number a guest said it had flushed.
fn stamps(console: &str) -> u64 {
    // The last line may be half written.
    let (whole, _) = console.rsplit_once('\n').expect("a line");
    let mut lines = whole.lines().filter_map(|line| line.strip_prefix("guest: flushed "));
    lines.next_back().and_then(|number| number.trim().parse().ok()).expect("it said so")
}

fn labels(store: &Store, name: &str) -> Vec<String> {
    let lineage = store.inspect(name)["lineage"].clone();
    serde_json::from_value(lineage).expect("a list of names")
}

fn layers(store: &Store) -> Vec<PathBuf> {
    let dir = store.folder().join("root/layers");
    fs::read_dir(dir).expect("layers/").map(|entry| entry.expect("a layer").path()).collect()
}

#[test]
fn a_snapshot_is_what_the_disk_was() {
    if !kvm("snapshots of a stopped VM") {
        return;
    }
    let store = web();
    obeys(&store, "web", "write:1,flush");
    assert_eq!(store.ok(["snapshot", "create", "web", "one", "--notes", "first"]), "web@one\n");
    obeys(&store, "web", "verify:1,write:2,flush");
    assert_eq!(store.ok(["snapshot", "create", "web", "-q"]), "s1\n");
    obeys(&store, "web", "write:3,flush");
    refuses(&store, 4, ["snapshot", "revert", "web", "one"], "would be lost");
    store.ok(["snapshot", "revert", "web", "one", "--keep", "three"]);
    obeys(&store, "web", "verify:1");
    store.ok(["snapshot", "revert", "web", "s1"]);
    obeys(&store, "web", "verify:2,write:4,flush");
    store.ok(["snapshot", "revert", "web", "three", "--force"]);
    obeys(&store, "web", "verify:3");
    let listed = json(&store, ["snapshot", "ls", "web"]);
    let names: Vec<_> = listed.as_array().expect("a list").iter().map(|s| &s["name"]).collect();
    assert_eq!(names, ["one", "s1", "three"]);
    assert_eq!(listed[0]["notes"], "first");
    assert_eq!(listed[2]["current"], true);
    assert_eq!(labels(&store, "web"), ["tiny", "web@one", "web@s1", "web@three"]);
    assert_tidy(&store);
}

#[test]
fn a_reset_takes_a_vm_back_to_its_last_snapshot_or_what_it_was_cloned_of() {
    if !kvm("reset") {
        return;
    }
    let store = web();
    obeys(&store, "web", "write:1,flush");
    store.ok(["reset", "web"]);
    obeys(&store, "web", "verify-base,write:2,flush");
    store.ok(["snapshot", "create", "web"]);
    obeys(&store, "web", "write:3,flush");
    store.ok(["reset", "web"]);
    obeys(&store, "web", "verify:2,write:3,flush");
    // What is frozen for a clone is still what the VM wrote.
    store.ok(["clone", "web", "copy"]);
    store.ok(["reset", "web"]);
    obeys(&store, "web", "verify:2");
    obeys(&store, "copy", "verify:3,write:4,flush");
    store.ok(["reset", "copy"]);
    obeys(&store, "copy", "verify:3");
    store.ok(["start", "web", "--cmdline", "offshoot.do=idle"]);
    refuses(&store, 4, ["reset", "web"], "cannot reset web: it is running");
    store.ok(["reset", "--force", "web"]);
    assert_eq!(state(&store, "web"), "stopped");
    assert_tidy(&store);
}

#[test]
fn of_many_names_those_that_can_be_are_reset_and_the_others_are_told() {
    if !kvm("reset of many") {
        return;
    }
    let store = web();
    store.ok(["clone", "tiny", "more", "--memory=64M", "-n", "2"]);
    for name in ["web", "more-1", "more-2"] {
        obeys(&store, name, "write:1,flush");
    }
    store.ok(["protect", "more-2"]);
    store.ok(["start", "web", "--cmdline", "offshoot.do=idle"]);
    let error = fails(3, store.command(["reset", "nosuch", "web", "more-2", "more-1", "more-1"]));
    for cause in ["nosuch: there is no VM", "web: it is running", "more-2: it is protected"] {
        assert!(error.contains(&format!("cannot reset {cause}")), "{error}");
    }
    assert_eq!(error.matches("offshoot: ").count(), 3, "{error}");
    obeys(&store, "more-1", "verify-base");
    obeys(&store, "more-2", "verify:1");
    store.ok(["reset", "--force", "web", "more-1"]);
    obeys(&store, "web", "verify-base");
    assert_tidy(&store);
}

#[test]
fn a_snapshot_of_a_running_vm_has_all_it_flushed_and_the_vm_goes_on() {
    if !kvm("snapshots of a running VM") {
        return;
    }
    let store = web();
    store.ok(["start", "web", "--cmdline", "offshoot.do=stamp"]);
    let mut console = Follower::new(&store, "web");
    console.wait_for("guest: flushed 20");
    let before = stamps(&store.ok(["logs", "web"]));
    let said = store.ok(["snapshot", "create", "web", "live"]);
    assert!(said.starts_with("web@live: writes waited for "), "{said}");
    let pause = json(&store, ["snapshot", "create", "web", "again"])["pause_us"].clone();
    assert!(pause.as_u64().is_some_and(|us| us < 1_000_000), "{pause}");
    let after = stamps(&store.ok(["logs", "web"]));
    console.wait_for(&format!("guest: flushed {}", after + 20));
    store.ok(["stop", "--force", "web"]);
    let last = stamps(&store.ok(["logs", "web"]));
    obeys(&store, "web", &format!("verify-stamps:{last}"));
    // The snapshot lies somewhere between what had been flushed before it and after it.
    store.ok(["clone", "web@live", "past"]);
    let verify = |n: u64| format!("offshoot.do=verify-stamps:{n}");
    let fits = (before..=after + 1).any(|n| {
        store.ok(["start", "past", "--cmdline", &verify(n)]);
        store.ok(["wait", "-q", "past"]) == "0\n"
    });
    assert!(fits, "it is no state between {before} and {after}");
    store.ok(["snapshot", "revert", "web", "live", "--force"]);
    assert_tidy(&store);
}

#[test]
fn clones_of_a_vm_are_what_it_was_and_do_not_disturb_it() {
    if !kvm("clones of VMs") {
        return;
    }
    let store = web();
    obeys(&store, "web", "write:1,flush");
    assert_eq!(store.ok(["clone", "web", "-n", "2"]), "web-1\nweb-2\n");
    assert_eq!(store.ok(["clone", "web", "third"]), "third\n");
    assert_eq!(layers(&store).len(), 1, "what was frozen once stands for all");
    for name in ["web-1", "web-2", "third", "web"] {
        assert_eq!(store.inspect(name)["vm"]["memory_mib"], 64);
        obeys(&store, name, "verify:1,write:2,flush");
    }
    store.ok(["snapshot", "create", "web-1", "mine"]);
    store.ok(["clone", "web-1@mine", "fourth"]);
    store.ok(["rm", "web-1"]);
    obeys(&store, "fourth", "verify:2");
    assert!(store.ok(["tree"]).contains("web-1@mine"));
    refuses(&store, 3, ["clone", "web-1@mine"], "there is no VM web-1");
    store.ok(["rm", "fourth"]);
    assert_eq!(layers(&store).len(), 1, "what only it stood on went with it");
    store.ok(["rm", "web", "web-2", "third"]);
    assert_eq!(layers(&store).len(), 0);
    store.ok(["image", "rm", "tiny"]);
    assert_tidy(&store);
}

#[test]
fn a_clone_of_a_running_vm_is_its_disk_as_a_power_cut_leaves_it() {
    if !kvm("clones of a running VM") {
        return;
    }
    let store = web();
    store.ok(["start", "web", "--cmdline", "offshoot.do=write:1,flush,print:written,idle"]);
    Follower::new(&store, "web").wait_for("guest: written");
    let said = fails(0, store.command(["clone", "web", "copy"]));
    assert!(said.contains("web is running: its disk was cloned as a power cut leaves it"));
    obeys(&store, "copy", "verify:1,write:2,flush");
    store.ok(["stop", "--force", "web"]);
    obeys(&store, "web", "verify:1");
    assert_tidy(&store);
}

#[test]
fn what_was_frozen_for_a_clone_is_not_lost_by_a_revert_that_is_not_forced() {
    if !kvm("a revert of a cloned VM") {
        return;
    }
    let store = web();
    store.ok(["snapshot", "create", "web", "s1"]);
    obeys(&store, "web", "write:1:range=0+64k,flush");
    store.ok(["clone", "web", "copy"]);
    store.ok(["rm", "copy"]);
    let revert = ["snapshot", "revert", "web", "s1"];
    refuses(&store, 4, revert, "64.00 KiB written since its last snapshot would be lost");
    store.ok(revert.into_iter().chain(["--keep", "now"]));
    store.ok(["snapshot", "revert", "web", "now"]);
    obeys(&store, "web", "verify:1:range=0+64k");
    assert_tidy(&store);
}

#[test]
fn a_chain_of_seventy_snapshots_starts_and_reads_right() {
    if !kvm("a deep chain") {
        return;
    }
    const DEEP: u64 = 70;
    let store = web();
    // Each layer has blocks of its own, and those below.
    for n in 0..DEEP {
        if n % 10 == 0 {
            let at = n * 4096;
            obeys(&store, "web", &format!("write:{}:range={at}+4096,flush", n + 1));
        }
        store.ok(["snapshot", "create", "web"]);
    }
    let verify: Vec<_> = (0..DEEP).step_by(10).map(|n| (n * 4096, n + 1)).collect();
    let verify: Vec<_> =
        verify.iter().map(|(at, n)| format!("verify:{n}:range={at}+4096")).collect();
    obeys(&store, "web", &verify.join(","));
    assert_eq!(labels(&store, "web").len() as u64, DEEP + 1);
    store.ok(["start", "web", "--cmdline", "offshoot.do=idle"]);
    store.ok(["snapshot", "create", "web", "online"]);
    store.ok(["stop", "--force", "web"]);
    store.ok(["snapshot", "revert", "web", "s35"]);
    obeys(&store, "web", &verify[..4].join(","));
    assert_tidy(&store);
}

#[test]
fn a_snapshot_that_others_need_stays_and_they_are_named() {
    let store = web();
    store.ok(["snapshot", "create", "web", "one"]);
    store.ok(["snapshot", "create", "web", "two"]);
    store.ok(["clone", "web@one", "copy"]);
    let rm = ["snapshot", "rm", "web", "one"];
    refuses(&store, 4, rm, "cannot remove web@one: several stand on it: web@two, copy");
    refuses(&store, 4, ["image", "rm", "tiny"], "these VMs stand on it: copy, web");
    refuses(&store, 4, ["snapshot", "create", "web", "two"], "it has a snapshot two already");
    refuses(&store, 3, ["snapshot", "rm", "web", "three"], "web has no snapshot three");
    refuses(&store, 2, ["snapshot", "create", "web", "../x"], "'/' is not");
    store.ok(["rm", "copy"]);
    store.ok(["snapshot", "rm", "web", "one"]);
    assert_eq!(labels(&store, "web"), ["tiny", "web@two"]);
    assert_tidy(&store);
}

#[test]
fn a_snapshot_taken_out_of_the_middle_changes_no_disk() {
    if !kvm("snapshot rm") {
        return;
    }
    let store = web();
    for n in 1..=3 {
        let at = n * 8192;
        obeys(&store, "web", &format!("write:{n}:range={at}+8192,flush"));
        store.ok(["snapshot", "create", "web"]);
    }
    let verify = "verify:1:range=8192+8192,verify:2:range=16384+8192,verify:3:range=24576+8192";
    store.ok(["snapshot", "rm", "web", "s2"]);
    assert_eq!(labels(&store, "web"), ["tiny", "web@s1", "web@s3"]);
    obeys(&store, "web", verify);
    // Its own delta stands on this one; and it runs.
    store.ok(["start", "web", "--cmdline", "offshoot.do=idle"]);
    store.ok(["snapshot", "rm", "web", "s3"]);
    store.ok(["snapshot", "rm", "web", "s1"]);
    store.ok(["stop", "--force", "web"]);
    // The guest's disk may have had them open to the end.
    store.ok(["prune"]);
    assert_eq!(labels(&store, "web"), ["tiny"]);
    assert_eq!(layers(&store).len(), 0);
    obeys(&store, "web", verify);
    assert_tidy(&store);
}

#[test]
fn a_missing_layer_is_named_and_the_vm_can_still_be_removed() {
    let store = web();
    store.ok(["snapshot", "create", "web", "one"]);
    store.ok(["snapshot", "create", "web", "two"]);
    let one =
        json(&store, ["snapshot", "ls", "web"])[0]["uuid"].as_str().expect("a uuid").to_owned();
    let path = store.folder().join("root/layers").join(&one).join("delta");
    fs::remove_file(&path).expect("removed");
    refuses(&store, 5, ["start", "web"], text(&path));
    refuses(&store, 5, ["snapshot", "create", "web"], text(&path));
    let doctor = ends(5, store.command(["doctor", "-q"]));
    assert!(doctor.contains(text(&path)), "{doctor}");
    store.ok(["rm", "web"]);
    assert_tidy(&store);
}

#[test]
fn a_process_that_dies_at_any_step_leaves_a_store_that_goes_on() {
    if !kvm("processes that die") {
        return;
    }
    let points = ["layer-published", "delta-made", "delta-replaced", "layer-indexed"];
    let store = web();
    obeys(&store, "web", "write:1,flush");
    for (n, point) in points.into_iter().enumerate() {
        let mut dies = store.command(["snapshot", "create", "web", point]);
        dies.env("OFFSHOOT_TEST_DIE_AT", point);
        assert_eq!(finish(dies).status.code(), None, "{point}");
        obeys(&store, "web", "verify:1");
        store.ok(["snapshot", "create", "web", &format!("after-{n}")]);
        obeys(&store, "web", "verify:1");
        let tmp = store.folder().join("root/tmp");
        for left in fs::read_dir(&tmp).expect("tmp/").map(|entry| entry.expect("a file").path()) {
            assert_eq!(point, "delta-made", "{}", left.display());
            fs::remove_file(left).expect("removed");
        }
        assert_tidy(&store);
    }
    // Whatever was not taken back by then is a snapshot.
    assert_eq!(layers(&store).len(), points.len() + 2);
}

#[test]
fn a_process_that_dies_before_the_guest_goes_on_is_made_up_for() {
    if !kvm("processes that die while a guest runs") {
        return;
    }
    let store = web();
    store.ok(["start", "web", "--cmdline", "offshoot.do=stamp"]);
    let mut console = Follower::new(&store, "web");
    console.wait_for("guest: flushed 5");
    for point in ["layer-published", "delta-replaced", "layer-indexed"] {
        let mut dies = store.command(["snapshot", "create", "web", point]);
        dies.env("OFFSHOOT_TEST_DIE_AT", point);
        assert_eq!(finish(dies).status.code(), None, "{point}");
        let now = stamps(&store.ok(["logs", "web"]));
        console.wait_for(&format!("guest: flushed {}", now + 5));
        store.ok(["snapshot", "create", "web", &format!("after-{point}")]);
    }
    let mut dies = store.command(["snapshot", "create", "web", "last"]);
    dies.env("OFFSHOOT_TEST_DIE_AT", "layer-indexed");
    finish(dies);
    let now = stamps(&store.ok(["logs", "web"]));
    console.wait_for(&format!("guest: flushed {}", now + 5));
    store.ok(["stop", "--force", "web"]);
    let last = stamps(&store.ok(["logs", "web"]));
    obeys(&store, "web", &format!("verify-stamps:{last}"));
    assert_tidy(&store);
}
