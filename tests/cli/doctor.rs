//! What `doctor` finds beside damage: machines that are out of hand. It names them, and does
//! nothing to them.

use std::fs;
use std::os::unix::net::UnixListener;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::kvm;
use crate::common::store::{Store, finish};
use crate::support::{dir, json, text, tiny};

/// What it says of one kind of thing.
fn findings(store: &Store, check: &str) -> Vec<Value> {
    let output = finish(store.command(["doctor", "--format", "json"]));
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a list");
    all.into_iter().filter(|finding| finding["check"] == check).collect()
}

#[test]
fn a_monitor_whose_directory_was_deleted_is_named_with_its_process() {
    if !kvm("a monitor without its directory") {
        return;
    }
    let store = tiny();
    let idle = ["--memory=64M", "--cmdline=offshoot.do=idle", "--start"];
    store.ok(["clone", "tiny", "web"].into_iter().chain(idle));
    assert_eq!(findings(&store, "monitor"), Vec::<Value>::new());
    let pid = store.inspect("web")["pid"].as_i64().expect("it runs");
    fs::remove_dir_all(dir(&store, "web")).expect("removed");
    let found = findings(&store, "monitor");
    let process = format!("process {pid} runs a VM whose directory ");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0]["text"].as_str().is_some_and(|said| said.starts_with(&process)), "{found:?}");
    assert_eq!(found[0]["try_next"], format!("kill {pid}"));
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process")).expect("a process");
    kill_process(pid, Signal::KILL).expect("it is ours");
    store.ok(["rm", "web"]);
}

#[test]
fn sockets_nobody_answers_on_are_named_and_those_that_are_used_are_not() {
    let store = tiny();
    let sockets = store.folder().join("offshoot");
    let (dead, live) = (sockets.join("0123456789abcdef"), sockets.join("fedcba9876543210"));
    let listen = |dir: &std::path::Path| {
        fs::create_dir_all(dir).expect("made");
        UnixListener::bind(dir.join("control.sock")).expect("a socket")
    };
    drop(listen(&dead));
    let _others = listen(&live);
    let found = findings(&store, "sockets");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0]["text"].as_str().is_some_and(|said| said.contains(text(&dead))), "{found:?}");
    assert!(dead.exists());
}

#[test]
fn one_address_of_two_machines_is_named_but_not_of_true_copies() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    store.ok(["clone", "web", "twin", "--keep-identity"]);
    store.ok(["clone", "web", "other"]);
    assert_eq!(findings(&store, "address"), Vec::<Value>::new());
    let mac = |name: &str| {
        let mac = store.inspect(name)["vm"]["identity"]["mac"].clone();
        mac.as_str().expect("an address").to_owned()
    };
    let record = dir(&store, "other").join("vm.toml");
    let same = fs::read_to_string(&record).expect("text").replace(&mac("other"), &mac("web"));
    fs::write(&record, same).expect("written");
    let found = findings(&store, "address");
    assert_eq!(found.len(), 1, "{found:?}");
    let said = found[0]["text"].as_str().expect("text");
    assert!(said.contains(&mac("web")) && said.ends_with("other, twin, web"), "{said}");
}

#[test]
fn a_damaged_seed_is_found_without_a_start() {
    let store = tiny();
    let spec = store.folder().join("spec.toml");
    fs::write(&spec, "hostname = 'lab-{n}'\n").expect("written");
    store.ok(["clone", "tiny", "web", "--spec", text(&spec)]);
    fs::write(dir(&store, "web").join("seed"), "nothing").expect("written");
    let found = findings(&store, "vm");
    assert_eq!(found[0]["verdict"], "bad", "{found:?}");
    assert!(found[0]["text"].as_str().is_some_and(|said| said.contains("/seed cannot be used")));
    assert_eq!(found[0]["try_next"], "offshoot clone web; its guest is told anew");
    store.ok(["clone", "web", "anew"]);
    assert_eq!(json(&store, ["check", "anew"])[0]["sound"], true);
}
