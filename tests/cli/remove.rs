//! Removing things others stand on: what is refused, what stays, and what goes with `--cascade`.

use std::fs;
use std::process::Output;

use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_lock};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use crate::common::kvm;
use crate::common::store::{Store, both, finish};
use crate::support::{assert_tidy, fails, json, obeys, refuses, state, tiny};

/// A store with `tiny`, `web` on it with a snapshot `one`, `copy` on that, `deep` on `copy`, and
/// `other` beside them.
fn family() -> Store {
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--memory", "64M"]);
    store.ok(["snapshot", "create", "web", "one"]);
    store.ok(["clone", "web@one", "copy"]);
    store.ok(["snapshot", "create", "copy", "two"]);
    store.ok(["clone", "copy@two", "deep"]);
    store.ok(["clone", "tiny", "other"]);
    store
}

fn layers(store: &Store) -> usize {
    fs::read_dir(store.folder().join("root/layers")).expect("layers/").count()
}

/// Runs a command with a terminal on stdin, where somebody types `answer`.
fn at_a_terminal<const N: usize>(store: &Store, args: [&str; N], answer: &str) -> Output {
    let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&keyboard).expect("granted");
    unlockpt(&keyboard).expect("unlocked");
    let name = ptsname(&keyboard, Vec::new()).expect("a name");
    let terminal = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty());
    rustix::io::write(&keyboard, answer.as_bytes()).expect("typed");
    let mut command = store.command(args);
    command.stdin(terminal.expect("it opens"));
    finish(command)
}

#[test]
fn a_cascade_takes_what_stands_on_a_vm_and_nothing_else() {
    let store = family();
    let error = fails(4, store.command(["rm", "--cascade", "web"]));
    assert!(error.contains("3 VMs would go, and nobody is here to be asked"), "{error}");
    assert!(error.contains("try: offshoot rm --cascade -f web"), "{error}");
    assert!(["web", "copy", "deep"].iter().all(|name| error.contains(name)), "{error}");
    assert!(!error.contains("other"), "{error}");
    let gone = json(&store, ["rm", "--cascade", "-f", "web"]);
    assert_eq!(gone["vms"], Value::from(vec!["copy", "deep", "web"]));
    assert_eq!(store.ok(["ls", "-q"]), "other\n");
    assert_eq!(layers(&store), 0);
    assert_tidy(&store);
}

#[test]
fn a_cascade_takes_an_image_with_all_its_clones() {
    let store = family();
    assert_eq!(store.ok(["rm", "--cascade", "-fq", "tiny"]), "tiny\ncopy\ndeep\nother\nweb\n");
    assert_eq!(store.ok(["ls", "-q"]), "");
    assert_eq!(store.ok(["image", "ls", "-q"]), "");
    assert_eq!(layers(&store), 0);
    assert_tidy(&store);
}

#[test]
fn a_cascade_of_a_vm_nothing_stands_on_asks_nothing() {
    let store = family();
    store.ok(["rm", "--cascade", "deep"]);
    assert_eq!(store.ok(["ls", "-q"]), "copy\nother\nweb\n");
    refuses(&store, 3, ["rm", "--cascade", "deep"], "there is no image or VM deep");
}

#[test]
fn a_cascade_takes_snapshots_of_vms_that_stay() {
    let store = family();
    // `copy` itself stands on the image now, its snapshot on web's still.
    store.ok(["rebase", "copy", "--onto", "tiny"]);
    let error = fails(4, store.command(["rm", "--cascade", "web"]));
    assert!(error.contains("2 VMs, 1 snapshot would go"), "{error}");
    assert!(error.contains("copy@two"), "{error}");
    store.ok(["protect", "copy"]);
    refuses(&store, 4, ["rm", "--cascade", "-f", "web"], "these are protected: copy");
    store.ok(["protect", "--off", "copy"]);
    store.ok(["rm", "--cascade", "-f", "web"]);
    assert_eq!(store.ok(["ls", "-q"]), "copy\nother\n");
    assert_eq!(store.ok(["snapshot", "ls", "-q", "copy"]), "");
    assert_eq!(layers(&store), 0);
    assert_tidy(&store);
}

#[test]
fn one_that_runs_or_is_protected_keeps_all() {
    if !kvm("a cascade over a running VM") {
        return;
    }
    let store = family();
    store.ok(["start", "deep", "--cmdline", "offshoot.do=idle"]);
    refuses(&store, 4, ["rm", "--cascade", "-f", "tiny"], "these run: deep");
    store.ok(["stop", "--force", "deep"]);
    store.ok(["protect", "deep"]);
    refuses(&store, 4, ["rm", "--cascade", "-f", "web"], "these are protected: deep");
    assert_eq!(store.ok(["ls", "-q"]), "copy\ndeep\nother\nweb\n");
    assert_tidy(&store);
}

#[test]
fn at_a_terminal_only_a_yes_removes() {
    let store = family();
    let no = at_a_terminal(&store, ["rm", "--cascade", "web"], "n\n");
    assert!(both(&no).contains("Remove 3 VMs? [y/N]"), "{}", both(&no));
    assert!(both(&no).contains("nothing was removed"), "{}", both(&no));
    assert_eq!(no.status.code(), Some(1));
    assert_eq!(store.ok(["ls", "-q"]), "copy\ndeep\nother\nweb\n");
    let yes = at_a_terminal(&store, ["rm", "--cascade", "web"], "y\n");
    assert!(yes.status.success(), "{}", both(&yes));
    assert_eq!(store.ok(["ls", "-q"]), "other\n");
}

#[test]
fn an_image_is_not_removed_as_a_vm_and_the_way_is_shown() {
    let store = family();
    let error = fails(3, store.command(["rm", "-f", "tiny"]));
    assert!(error.contains("cannot remove tiny: it is an image, not a VM"), "{error}");
    assert!(error.contains("try: offshoot image rm tiny; "), "{error}");
    refuses(&store, 3, ["start", "tiny"], "tiny is an image, not a VM");
    let error = fails(4, store.command(["image", "rm", "tiny"]));
    assert!(error.contains("these VMs stand on it: copy, deep, other, web"), "{error}");
    assert!(error.contains("or offshoot rm --cascade tiny"), "{error}");
}

#[test]
fn of_many_names_those_that_can_go_are_removed_in_one_step_and_the_others_are_told() {
    let store = family();
    store.ok(["protect", "deep"]);
    let error = fails(3, store.command(["rm", "web", "nosuch", "deep", "copy", "web"]));
    assert!(error.contains("cannot remove nosuch: there is no VM nosuch"), "{error}");
    assert!(error.contains("cannot remove deep: it is protected"), "{error}");
    assert_eq!(error.matches("offshoot: ").count(), 2, "{error}");
    assert_eq!(store.ok(["ls", "-q"]), "deep\nother\n");
    let events = store.ok(["events"]);
    let removed = events.lines().filter(|line| line.contains("\"removed\""));
    assert_eq!(removed.count(), 2, "{events}");
    assert_tidy(&store);
}

#[test]
fn what_others_need_of_a_removed_vm_stays_until_the_last_is_gone() {
    let store = family();
    store.ok(["rm", "web", "copy"]);
    let tree = store.ok(["tree"]);
    assert!(tree.contains("web@one") && tree.contains("VM removed"), "{tree}");
    assert_eq!(json(&store, ["tree"])[0]["layers"][0]["vm_removed"], true);
    assert_eq!(store.ok(["prune", "--dry-run"]), "");
    refuses(&store, 4, ["image", "rm", "tiny"], "these VMs stand on it: deep, other");
    store.ok(["rm", "deep"]);
    assert_eq!(layers(&store), 0);
    assert_tidy(&store);
}

#[test]
fn prune_says_first_what_it_frees_and_then_frees_it() {
    let store = family();
    // Who has a layer open keeps it past the end of all that stood on it.
    let layer = fs::read_dir(store.folder().join("root/layers")).expect("layers/");
    let layer = layer.map(|entry| entry.expect("a layer").path().join("delta"));
    let open: Vec<_> = layer.map(|path| fs::File::open(path).expect("it opens")).collect();
    let locked = |file| fcntl_lock(file, FlockOperation::LockShared).expect("locked");
    open.iter().for_each(locked);
    store.ok(["rm", "web", "copy", "deep"]);
    assert_eq!(layers(&store), 2);
    assert_eq!(store.ok(["prune", "--dry-run"]), "");
    drop(open);
    let said = json(&store, ["prune", "--dry-run"]);
    let bytes = said.as_array().expect("a list").iter().map(|layer| layer["own_bytes"].as_u64());
    let lines = json(&store, ["df"]);
    let unneeded = |line: &&Value| line["kind"] == "unneeded";
    let unneeded = lines.as_array().and_then(|all| all.iter().find(unneeded)).expect("a line");
    assert_eq!(bytes.sum::<Option<u64>>(), unneeded["reclaimable_bytes"].as_u64());
    let said = store.ok(["prune", "--dry-run"]);
    let sum = said.lines().last().and_then(|line| line.strip_suffix(" could go")).expect("a sum");
    assert!(sum.starts_with("2 layers, "), "{said}");
    assert_eq!(layers(&store), 2, "it only says so");
    assert!(store.ok(["prune"]).ends_with(&format!("{sum} freed\n")));
    assert_eq!(layers(&store), 0);
    assert_tidy(&store);
}

#[test]
fn restart_ends_a_guest_and_starts_it_anew() {
    if !kvm("restart") {
        return;
    }
    let store = family();
    store.ok(["start", "web", "--cmdline", "offshoot.do=idle"]);
    let pid = store.inspect("web")["pid"].clone();
    let idle = ["restart", "--force", "web", "other", "--cmdline", "offshoot.do=idle"];
    store.ok(idle);
    assert_eq!(
        (state(&store, "web"), state(&store, "other")),
        ("running".into(), "running".into())
    );
    assert_ne!(store.inspect("web")["pid"], pid);
    store.ok(["stop", "--force", "web", "other"]);
    obeys(&store, "web", "exit:0");
    refuses(&store, 3, ["restart", "nosuch"], "cannot restart nosuch: there is no VM nosuch");
    assert_tidy(&store);
}
