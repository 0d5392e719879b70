//! What people say about images and VMs: names, notes, labels, and what must stay.

use std::fs;

use crate::common::kvm;
use crate::common::store::{Store, finish};
use crate::support::{assert_tidy, dir, json, refuses, state, text, tiny};

/// A store with the image `tiny` and a VM `web` on it.
fn web() -> Store {
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--memory", "64M", "--notes", "first", "--label", "a=1"]);
    store
}

#[test]
fn a_renamed_vm_has_its_snapshots_and_clones_under_its_new_name() {
    let store = web();
    store.ok(["snapshot", "create", "web", "one"]);
    store.ok(["clone", "web@one", "copy"]);
    assert_eq!(store.ok(["rename", "web", "prod"]), "");
    refuses(&store, 3, ["inspect", "web"], "there is no VM web");
    assert_eq!(store.ok(["ls", "-q"]), "copy\nprod\n");
    assert_eq!(store.inspect("prod")["vm"]["name"], "prod");
    assert_eq!(json(&store, ["ls"])[0]["parent"], "prod@one");
    store.ok(["clone", "prod@one", "web"]);
    // The removed VM's snapshot is known by the name it had last.
    store.ok(["rm", "prod"]);
    assert!(store.ok(["tree"]).contains("prod@one"));
    assert_tidy(&store);
}

#[test]
fn an_image_is_renamed_and_its_clones_follow() {
    let store = web();
    store.ok(["rename", "tiny", "small"]);
    assert_eq!(store.ok(["image", "ls", "-q"]), "small\n");
    assert_eq!(json(&store, ["ls"])[0]["image"], "small");
    assert_eq!(json(&store, ["image", "inspect", "small"])[0]["name"], "small");
    assert_eq!(store.ok(["clone", "small"]), "small-1\n");
    assert_tidy(&store);
}

#[test]
fn a_name_that_is_taken_or_bad_is_refused_and_nothing_changes() {
    let store = web();
    store.ok(["clone", "tiny", "other"]);
    let taken = "cannot rename web to other: the name other is taken by a VM";
    refuses(&store, 4, ["rename", "web", "other"], taken);
    refuses(&store, 4, ["rename", "web", "tiny"], "the name tiny is taken by an image");
    refuses(&store, 3, ["rename", "nosuch", "x"], "there is no image or VM nosuch");
    refuses(&store, 2, ["rename", "web", "../x"], "'/' is not");
    store.ok(["rename", "web", "web"]);
    assert_eq!(store.ok(["ls", "-q"]), "other\nweb\n");
    assert_tidy(&store);
}

#[test]
fn notes_and_labels_are_written_read_and_taken_away() {
    let store = web();
    for name in ["web", "tiny"] {
        store.ok(["note", name, "line one\nline two"]);
        assert_eq!(store.ok(["note", name]), "line one\nline two\n");
        store.ok(["label", name, "owner=ann", "a=2", "empty="]);
        assert_eq!(store.ok(["label", name]), "a=2\nempty=\nowner=ann\n");
        store.ok(["label", name, "a-", "empty-", "never-was-"]);
        assert_eq!(json(&store, ["label", name])["labels"]["owner"], "ann");
    }
    assert_eq!(json(&store, ["ls"])[0]["labels"].to_string(), r#"{"owner":"ann"}"#);
    assert_eq!(json(&store, ["tree"])[0]["notes"], "line one\nline two");
    store.ok(["note", "web", ""]);
    assert_eq!(store.ok(["note", "web"]), "");
    refuses(&store, 2, ["note", "web", "\x1b[2J"], "there are control characters in it");
    let notes = ["snapshot", "create", "web", "--notes", "\x1b[2J"];
    refuses(&store, 2, notes, "there are control characters in it");
    refuses(&store, 2, ["label", "web", "key"], "it must be KEY=VALUE or KEY-");
    refuses(&store, 3, ["note", "nosuch"], "cannot read nosuch's note: there is no image or VM");
    assert_tidy(&store);
}

#[test]
fn what_is_protected_is_not_removed_reset_or_reverted() {
    let store = web();
    store.ok(["snapshot", "create", "web", "one"]);
    store.ok(["protect", "web", "tiny"]);
    assert!(store.ok(["ls"]).contains("created, protected"));
    assert_eq!(json(&store, ["tree"])[0]["protected"], true);
    refuses(&store, 4, ["rm", "web"], "cannot remove web: it is protected");
    refuses(&store, 4, ["rm", "-f", "web"], "try: offshoot protect --off web");
    refuses(&store, 4, ["reset", "-f", "web"], "cannot reset web: it is protected");
    let revert = ["snapshot", "revert", "web", "one", "--force"];
    refuses(&store, 4, revert, "cannot take web back to one: it is protected");
    store.ok(["protect", "--off", "web"]);
    store.ok(["reset", "web"]);
    store.ok(["rm", "web"]);
    refuses(&store, 4, ["image", "rm", "tiny"], "cannot remove image tiny: it is protected");
    store.ok(["protect", "--off", "tiny"]);
    store.ok(["image", "rm", "tiny"]);
    assert_tidy(&store);
}

#[test]
fn a_protected_vm_with_a_lost_record_is_removed_only_when_told_twice() {
    let store = web();
    store.ok(["protect", "web"]);
    fs::remove_file(dir(&store, "web").join("vm.toml")).expect("removed");
    refuses(&store, 4, ["rm", "web"], "it is protected");
    store.ok(["protect", "--off", "web"]);
    store.ok(["rm", "web"]);
    assert_tidy(&store);
}

#[test]
fn a_running_vm_is_renamed_described_and_protected_and_goes_on() {
    if !kvm("rename of a running VM") {
        return;
    }
    let store = web();
    store.ok(["start", "web", "--cmdline", "offshoot.do=idle"]);
    store.ok(["rename", "web", "prod"]);
    store.ok(["note", "prod", "in use"]);
    store.ok(["label", "prod", "tier=1"]);
    store.ok(["protect", "prod"]);
    assert_eq!(state(&store, "prod"), "running");
    refuses(&store, 4, ["rm", "-f", "prod"], "it is protected");
    assert_eq!(state(&store, "prod"), "running", "it was not stopped for nothing");
    store.ok(["resize", "prod", "4M"]);
    let vm = store.inspect("prod")["vm"].clone();
    assert_eq!((&vm["notes"], &vm["disk_size"]), (&"in use".into(), &(4 << 20).into()));
    store.ok(["stop", "--force", "prod"]);
    store.ok(["protect", "--off", "prod"]);
    assert_tidy(&store);
}

#[test]
fn what_is_protected_stays_as_it_is_from_then_on() {
    let store = web();
    // Whoever takes something back holds this from the check to the end.
    let layers = fs::File::open(store.folder().join("root/layers")).expect("a store");
    rustix::fs::flock(&layers, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    let mut protect = store.command(["protect", "web"]).spawn().expect("it starts");
    let waits = format!("-> FLOCK  ADVISORY  WRITE {} ", protect.id());
    while !fs::read_to_string("/proc/locks").expect("proc").contains(&waits) {
        assert!(protect.try_wait().expect("a child").is_none(), "it did not wait");
        std::thread::yield_now();
    }
    assert_eq!(store.inspect("web")["vm"]["protected"], false);
    drop(layers);
    assert!(protect.wait().expect("it ended").success());
    refuses(&store, 4, ["reset", "web"], "it is protected");
}

#[test]
fn many_who_label_one_vm_at_once_all_succeed() {
    let store = web();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let label = format!("l{n}={n}");
            let command = store.command(["label", "web", &label]);
            scope.spawn(move || assert!(finish(command).status.success(), "{label}"));
        }
    });
    assert_eq!(store.ok(["label", "web"]).lines().count(), 9);
    assert_eq!(store.inspect("web")["vm"]["labels"], json(&store, ["ls"])[0]["labels"]);
}

#[test]
fn of_two_who_take_one_name_one_gets_it() {
    let store = web();
    store.ok(["clone", "tiny", "other"]);
    let codes: Vec<_> = std::thread::scope(|scope| {
        let rename = |old: &'static str| {
            let command = store.command(["rename", old, "prod"]);
            scope.spawn(move || finish(command).status.code().expect("no signal"))
        };
        let racers = [rename("web"), rename("other")];
        let mut codes: Vec<_> = racers.map(|racer| racer.join().expect("no panic")).into();
        codes.sort_unstable();
        codes
    });
    assert_eq!(codes, [0, 4]);
    assert_tidy(&store);
}

#[test]
fn a_rename_that_dies_between_file_and_row_is_completed_by_the_next() {
    let store = web();
    store.ok(["snapshot", "create", "web", "one"]);
    let mut dies = store.command(["rename", "web", "prod"]);
    dies.env("OFFSHOOT_TEST_DIE_AT", "record-written");
    assert_eq!(finish(dies).status.code(), None);
    assert!(store.ok(["rename", "web", "prod"]).is_empty());
    assert_eq!(store.ok(["ls", "-q"]), "prod\n");
    let record = fs::read_to_string(dir(&store, "prod").join("vm.toml")).expect("a record");
    assert!(record.contains("name = \"prod\""), "{record}");
    store.ok(["clone", "prod@one", "copy"]);
    assert_tidy(&store);
}

#[test]
fn a_record_written_before_there_was_protection_is_read() {
    let store = web();
    let path = dir(&store, "web").join("vm.toml");
    let record = fs::read_to_string(&path).expect("a record");
    fs::write(&path, record.replace("protected = false\n", "")).expect("written");
    assert_eq!(store.inspect("web")["vm"]["protected"], false, "{}", text(&path));
    store.ok(["rm", "web"]);
}
