//! `events`: what commands and monitors tell.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::kvm;
use crate::common::store::{Store, finish};
use crate::support::{dir, fails, refuses, tiny};

fn events(store: &Store) -> Vec<Value> {
    let text = store.ok(["events"]);
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn words(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().expect("a word")).collect()
}

#[test]
fn the_life_of_a_vm_is_told_in_order() {
    if !kvm("events of a VM's life") {
        return;
    }
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--memory=64M", "--cmdline=offshoot.do=idle"]);
    let id = dir(&store, "web").file_name().expect("a name").to_string_lossy().into_owned();
    store.ok(["start", "web"]);
    store.ok(["pause", "web"]);
    store.ok(["resume", "web"]);
    store.ok(["snapshot", "create", "web", "s1"]);
    store.ok(["stop", "--force", "web"]);
    store.ok(["wait", "web"]);
    store.ok(["rename", "web", "prod"]);
    store.ok(["reset", "prod"]);
    store.ok(["rm", "prod"]);
    store.ok(["image", "rm", "tiny"]);
    let events = events(&store);
    let expected = [
        "imported",
        "created",
        "starting",
        "running",
        "paused",
        "resumed",
        "snapshot-created",
        "stopped",
        "renamed",
        "reset",
        "removed",
        "image-removed",
    ];
    assert_eq!(words(&events), expected);
    for event in &events[1..11] {
        assert_eq!(event["id"], id, "{event}");
    }
    assert_eq!(events[6]["snapshot"], "s1");
    assert_eq!(events[7]["end"]["exit"]["reason"], "stopped", "{}", events[7]);
    assert_eq!((&events[8]["old"], &events[8]["new"]), (&"web".into(), &"prod".into()));
    assert!(events.is_sorted_by_key(|event| event["time"].as_str().expect("a time").to_owned()));
}

#[test]
fn followers_see_what_happens_from_now_on_and_end_with_their_reader() {
    let store = tiny();
    let mut follower = store.command(["events", "-f"]).spawn().expect("it starts");
    let mut lines = BufReader::new(follower.stdout.take().expect("piped")).lines();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !watches(follower.id()) {
        assert!(Instant::now() < deadline, "it does not follow");
        thread::yield_now();
    }
    store.ok(["clone", "tiny", "seen"]);
    let seen = lines.find(|line| line.as_ref().expect("text").contains("\"seen\""));
    let event: Value = serde_json::from_str(&seen.expect("a line").expect("text")).expect("JSON");
    assert_eq!(event["event"], "created");
    drop(lines);
    store.ok(["clone", "tiny", "unseen"]);
    assert!(follower.wait().expect("it ended").success());
}

/// Whether a process has an inotify descriptor.
fn watches(pid: u32) -> bool {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives");
    let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.into_iter().any(|link| link.to_string_lossy().contains("inotify"))
}

#[test]
fn since_takes_an_age_or_a_time() {
    let store = tiny();
    let time = events(&store)[0]["time"].as_str().expect("a time").to_owned();
    assert_eq!(store.ok(["events", "--since", &time]).lines().count(), 1);
    assert_eq!(store.ok(["events", "--since", "1h"]).lines().count(), 1);
    assert_eq!(store.ok(["events", "--since", "2999-01-01T00:00:00Z"]), "");
    refuses(&store, 2, ["events", "--since", "yesterday"], "it is neither an age");
}

#[test]
fn a_log_that_cannot_be_written_or_is_torn_costs_no_command_anything() {
    let store = tiny();
    let log = store.folder().join("root/events.jsonl");
    let mut file = fs::File::options().append(true).open(&log).expect("a log");
    file.write_all(b"{\"time\": \"2026").expect("written");
    store.ok(["clone", "tiny", "web"]);
    assert_eq!(words(&events(&store)), ["imported", "created"]);
    fs::remove_file(&log).expect("removed");
    fs::create_dir(&log).expect("made");
    store.ok(["rm", "web"]);
    let said = fails(1, store.command(["events"]));
    assert!(said.contains("cannot print the events"), "{said}");
    assert!(finish(store.command(["doctor"])).status.code().is_some());
}
