//! A host filesystem that fills up below a running guest, and below each command.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use serve::nbd::testing::{Client, Mode};

use super::tmpfs::Small;
use crate::common::kvm;
use crate::common::store::{Store, both, finish};
use crate::support::{assert_tidy, base_file, dir, json, kernel_file, obeys, state, text, tiny_in};

const ENOSPC: u32 = 28;

/// A VM `web` with a disk of 8 MiB, which obeys these orders, on a filesystem with less room.
fn web(test: &str, orders: &str) -> Option<Small> {
    if !kvm(test) {
        return None;
    }
    let small = Small::new(test, 24)?;
    tiny_in(small.store());
    let cmdline = format!("offshoot.do={orders}");
    let args = ["clone", "tiny", "web", "--memory=64M", "--disk-size=8M", "--cmdline", &cmdline];
    small.store().ok(args);
    Some(small)
}

/// Waits until the VM is paused; fails when it ended instead.
fn wait_until_paused(store: &Store) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match state(store, "web").as_str() {
            "paused" => return,
            "running" => assert!(Instant::now() < deadline, "it is not paused"),
            other => panic!("it is {other}\n{}", store.ok(["logs", "web"])),
        }
    }
}

#[test]
fn a_full_disk_pauses_the_vm_and_nothing_is_lost_when_there_is_room_again() {
    let orders = "write:7,flush,print:flushed,verify:7,exit:0";
    let Some(small) = web("a full disk under a guest", orders) else { return };
    let store = small.store();
    small.fill(1 << 20);
    store.ok(["start", "web"]);
    wait_until_paused(store);

    let trouble = store.inspect("web")["trouble"].clone();
    assert_eq!(trouble["reason"], "no space");
    let message = trouble["message"].as_str().expect("text");
    let place = format!("the filesystem at {} is full: cannot write ", small.root().display());
    assert!(message.starts_with(&place) && message.contains("/delta"), "{message}");
    assert!(store.ok(["ls"]).contains("paused (no space)"), "{}", store.ok(["ls"]));
    assert_eq!(json(store, ["ls"])[0]["trouble"]["reason"], "no space");

    // Still no room: it pauses again.
    store.ok(["resume", "web"]);
    wait_until_paused(store);
    // Perhaps another of its requests was the first this time.
    let trouble = store.inspect("web")["trouble"].clone();
    let message = trouble["message"].as_str().expect("text");
    assert!(message.starts_with(&place), "{message}");

    small.relieve();
    store.ok(["resume", "web"]);
    assert_eq!(store.ok(["wait", "web"]), "web: exited with status 0\n");
    let log = dir(store, "web").join("monitor.log");
    let log = fs::read_to_string(log).expect("a log");
    assert!(log.contains(message), "{log}");
    store.ok(["start", "web", "--cmdline=offshoot.do=verify:7,exit:0"]);
    assert_eq!(store.ok(["wait", "web"]), "web: exited with status 0\n");
}

#[test]
fn a_full_disk_fails_what_a_client_writes_with_an_event_and_a_message() {
    let Some(small) = web("a full disk under a client", "exit:0") else { return };
    let store = small.store();
    let socket = store.folder().join("socket");
    let mut serve = store.command(["disk", "serve", "web", "--nbd", text(&socket)]);
    let mut server = serve.stderr(Stdio::piped()).spawn().expect("started");
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut line).expect("text");
    assert!(line.starts_with("serving web"), "{line}");

    small.fill(1 << 20);
    let client = UnixStream::connect(&socket).expect("it listens");
    let mut client = Client::over(client, Mode::Simple).expect("it speaks NBD");
    let mut write = |mib: u64| client.write(mib << 20, &[7; 1 << 20]).expect("it answers");
    let full = (0..8).find(|mib| write(*mib).is_err()).expect("there is room for one at most");
    assert_eq!(write(full), Err(ENOSPC));
    let events = store.ok(["events"]);
    let told = events.lines().find(|line| line.contains("\"event\":\"full\""));
    let told: Value = serde_json::from_str(told.expect(&events)).expect("JSON");
    assert_eq!((&told["vm"], &told["trouble"]["reason"]), (&"web".into(), &"no space".into()));
    small.relieve();
    assert_eq!(write(full), Ok(()));

    drop(client);
    store.ok(["stop", "web"]);
    let said = server.wait_with_output().expect("it ended");
    let said = String::from_utf8_lossy(&said.stderr);
    assert!(said.contains("a client's request failed: cannot write "), "{said}");
}

#[test]
fn a_vm_that_waits_for_room_can_be_stopped_and_killed() {
    let Some(small) = web("stop of a VM that waits for room", "write:7,flush,exit:0") else {
        return;
    };
    let store = small.store();
    small.fill(1 << 20);
    store.ok(["start", "web"]);
    wait_until_paused(store);
    store.ok(["stop", "--force", "web"]);
    assert_eq!(state(store, "web"), "stopped", "there was room to say so");
    store.ok(["start", "web"]);
    wait_until_paused(store);
    let pid = store.inspect("web")["pid"].as_i64().expect("it runs");
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a process"));
    rustix::process::kill_process(pid.expect("a process"), rustix::process::Signal::KILL)
        .expect("it is ours");
    assert_eq!(store.ok(["wait", "web"]), "web: killed\n");
    small.relieve();
    store.ok(["start", "web"]);
    assert_eq!(store.ok(["wait", "web"]), "web: exited with status 0\n");
}

/// Runs a command with room for 0 pages, 1, 2, ..., until it succeeds. Each time before it ends
/// with status 6, says so, and leaves the store as it was with nothing half-made.
fn squeeze(small: &Small, args: &[&str]) {
    let store = small.store();
    let before = store.ok(["ls", "-a", "-q"]) + &store.ok(["image", "ls", "-q"]);
    for pages in (0..16).chain((16..2048).step_by(64)) {
        small.fill(pages * 4096);
        let output = finish(store.command(args));
        small.relieve();
        assert_tidy(store);
        if output.status.success() {
            return;
        }
        let when = format!("{args:?} with {pages} free pages\n{}", both(&output));
        assert_eq!(output.status.code(), Some(6), "{when}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("offshoot: cannot "), "{when}");
        let after = store.ok(["ls", "-a", "-q"]) + &store.ok(["image", "ls", "-q"]);
        assert_eq!(after, before, "{when}");
    }
    panic!("{args:?} never succeeds");
}

/// Snapshots of `web`, each with a page more room. What one could not end, the next completes or
/// takes back.
fn squeeze_snapshots(small: &Small) {
    for pages in 0..16 {
        small.fill(pages * 4096);
        let args = ["snapshot", "create", "web", &format!("s{pages}")];
        let output = finish(small.store().command(args));
        small.relieve();
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 6)), "with {pages} free pages\n{}", both(&output));
    }
    small.store().ok(["snapshot", "create", "web", "last"]);
    assert_tidy(small.store());
}

#[test]
fn a_store_whose_index_finds_no_room_says_what_to_do_and_loses_nothing() {
    let Some(small) = Small::new("a store on a full disk", 12) else { return };
    let store = small.store();
    tiny_in(store);
    store.ok(["clone", "tiny", "web"]);
    // It is made anew by whoever comes next.
    fs::remove_file(small.root().join("inventory.db-shm")).expect("it is there");
    small.fill(0);
    let output = finish(store.command(["ls", "-q"]));
    small.relieve();
    let said = both(&output);
    assert_eq!(output.status.code(), Some(6), "{said}");
    let place = format!("offshoot: cannot open the store {}: ", small.root().display());
    assert!(said.contains(&place) && said.contains("try: make room on that filesystem"), "{said}");
    assert_eq!(store.ok(["ls", "-q"]), "web\n");
    assert_tidy(store);
}

#[test]
fn what_fills_a_disk_can_be_removed_from_it() {
    let Some(small) = Small::new("rm on a full disk", 12) else { return };
    let store = small.store();
    tiny_in(store);
    store.ok(["clone", "tiny", "-n", "3"]);
    store.ok(["snapshot", "create", "tiny-1", "s1"]);
    store.ok(["snapshot", "create", "tiny-2", "s1"]);
    for words in ["rm tiny-1", "rm tiny-2 tiny-3", "image rm tiny"] {
        small.fill(0);
        store.ok(words.split(' '));
        small.relieve();
        assert_tidy(store);
    }
}

/// Whether an operation on the layers of `web`, for which there is no room, says so.
#[track_caller]
fn finds_no_room(small: &Small, args: &[&str]) {
    small.fill(64 << 10);
    let output = finish(small.store().command(args));
    small.relieve();
    let said = both(&output);
    assert_eq!(output.status.code(), Some(6), "{args:?}: {said}");
    assert!(said.contains("/delta at byte ") && said.contains("No space left on"), "{said}");
    assert!(said.contains("\ntry: make room on that filesystem"), "{said}");
}

#[test]
fn an_operation_without_room_says_so_alike_whether_the_vm_runs() {
    let Some(small) = web("operations on a full disk", "idle") else { return };
    let store = small.store();
    let base = store.folder().join("other.raw");
    fs::write(&base, [7; 4096]).expect("written");
    store.ok(["image", "import", text(&base), "--name", "other"]);
    let operations = [["flatten", "web"].as_slice(), &["rebase", "web", "--onto", "other"]];
    operations.into_iter().for_each(|args| finds_no_room(&small, args));
    store.ok(["start", "web"]);
    operations.into_iter().for_each(|args| finds_no_room(&small, args));
    store.ok(["flatten", "web"]);
    store.ok(["stop", "--force", "web"]);
    obeys(store, "web", "verify-base:range=0+1M,exit:0");
}

#[test]
fn commands_that_find_no_room_at_any_step_leave_the_store_as_it_was() {
    let Some(small) = Small::new("commands on a full disk", 12) else { return };
    let store = small.store();
    let (base, kernel) = (base_file(store), kernel_file(store));
    let (base, kernel) = (text(&base), text(&kernel));
    // Makes the inventory.
    store.ok(["image", "import", kernel, "--name", "first", "--format", "raw"]);
    squeeze(&small, &["image", "import", base, "--name", "tiny", "--kernel", kernel]);
    squeeze(&small, &["clone", "tiny", "web", "--memory=64M"]);
    squeeze_snapshots(&small);
    store.ok(["image", "verify", "tiny"]);
    if kvm("a start on a full disk") {
        // It must not end before there is room for the record of that.
        squeeze(&small, &["start", "web", "--cmdline=offshoot.do=idle"]);
        store.ok(["stop", "--force", "web"]);
        obeys(store, "web", "verify-base,exit:0");
    }
}
