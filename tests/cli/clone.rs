//! Clones: their names, what is listed of them, and many processes making them at once.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;

use serde_json::Value;

use crate::common::store::{Store, finish};
use crate::support::{assert_tidy, dir, json, refuses, text, tiny};

fn names(store: &Store) -> Vec<String> {
    store.ok(["ls", "-q"]).lines().map(str::to_owned).collect()
}

#[test]
fn clones_are_named_after_their_source_or_as_said() {
    let store = tiny();
    assert_eq!(store.ok(["clone", "tiny"]), "tiny-1\n");
    assert_eq!(store.ok(["clone", "tiny", "-n", "2"]), "tiny-2\ntiny-3\n");
    assert_eq!(store.ok(["clone", "tiny", "web"]), "web\n");
    assert_eq!(store.ok(["clone", "tiny", "web", "-n", "2"]), "web-1\nweb-2\n");
    assert_eq!(store.ok(["clone", "tiny", "lab-{n:02}", "-n", "2"]), "lab-01\nlab-02\n");
    assert_eq!(names(&store).len(), 8);
    assert_tidy(&store);
}

#[test]
fn a_number_is_not_used_again() {
    let store = tiny();
    store.ok(["clone", "tiny", "-n", "3"]);
    store.ok(["rm", "tiny-1"]);
    assert_eq!(store.ok(["clone", "tiny"]), "tiny-4\n");
}

#[test]
fn of_many_clones_all_are_made_or_none() {
    let store = tiny();
    store.ok(["clone", "tiny", "web-3"]);
    let many = ["clone", "tiny", "web", "-n", "5"];
    refuses(&store, 4, many, "cannot clone tiny: the name web-3 is taken by a VM");
    assert_eq!(names(&store), ["web-3"]);
    assert_tidy(&store);
}

#[test]
fn bad_names_and_sources_are_refused_with_the_reason() {
    let store = tiny();
    for (bad, reason) in
        [("a/b", "'/' is not"), (".x", "starts with"), ("", "it is empty"), ("a{m}", "template")]
    {
        refuses(&store, 2, ["clone", "tiny", bad], reason);
    }
    let long = "x".repeat(64);
    refuses(&store, 2, ["clone", "tiny", &long], "it has 64 characters, 63 are the most");
    refuses(&store, 3, ["clone", "nosuch"], "there is no image or VM nosuch");
    store.ok(["clone", "tiny", "web"]);
    refuses(&store, 3, ["clone", "web@nosuch"], "web has no snapshot nosuch");
    refuses(&store, 3, ["clone", "tiny@s1"], "tiny is an image, not a VM");
    refuses(&store, 2, ["clone", "web@../x"], "'/' is not");
    assert_eq!(names(&store), ["web"]);
}

#[test]
fn impossible_machines_are_refused() {
    let store = tiny();
    for cpus in ["0", "256", "-1", "many"] {
        refuses(&store, 2, ["clone", "tiny", &format!("--cpus={cpus}")], "--cpus");
    }
    for memory in ["0", "512", "1000K", "lots", "17T", "184467440737095516159"] {
        refuses(&store, 2, ["clone", "tiny", "--memory", memory], "--memory");
    }
    refuses(&store, 2, ["clone", "tiny", "--cmdline", "quiet \x1b[2J"], "control characters");
    refuses(&store, 2, ["clone", "tiny", "--disk-size", "1M"], "is smaller than its source's");
    refuses(&store, 3, ["clone", "tiny", "--kernel", "/missing"], "cannot use /missing");
    let folder = text(store.folder()).to_owned();
    refuses(&store, 2, ["clone", "tiny", "--initrd", &folder], "is not a file");
    assert_eq!(names(&store).len(), 0);
}

#[test]
fn what_a_clone_was_given_is_inspected_and_listed() {
    let store = tiny();
    let given = ["--cpus=2", "--memory=64M", "--disk-size=1G", "--notes=for tests", "--label=a=b"];
    store.ok(["clone", "tiny", "web"].into_iter().chain(given));
    let listed = &json(&store, ["ls"])[0];
    assert_eq!(listed["name"], "web");
    assert_eq!(listed["state"], "created");
    assert_eq!(listed["image"], "tiny");
    assert_eq!(listed["cpus"], 2);
    assert_eq!(listed["memory_mib"], 64);
    assert_eq!(listed["notes"], "for tests");
    assert_eq!(listed["labels"]["a"], "b");
    let inspected = store.inspect("web");
    assert_eq!(inspected["vm"]["disk_size"], 1_u64 << 30);
    assert_eq!(inspected["delta"]["owned_blocks"], 0);
    assert_eq!(inspected["spec"]["memory_mib"], 64);
    let table = store.ok(["ls"]);
    assert!(table.starts_with("NAME") && table.contains("for tests"), "{table}");
}

#[test]
fn the_tree_shows_clones_under_their_image() {
    let store = tiny();
    store.ok(["clone", "tiny", "-n", "2", "--notes", "hello"]);
    let tree = store.ok(["tree"]);
    let lines: Vec<_> = tree.lines().collect();
    assert!(lines[1].starts_with("tiny") && lines[1].contains("2 clones"), "{tree}");
    assert!(lines[2].starts_with("├── tiny-1") && lines[2].ends_with("hello"), "{tree}");
    assert!(lines[3].starts_with("└── tiny-2"), "{tree}");
    assert_eq!(json(&store, ["tree", "tiny-2"])[0]["clones"][0]["name"], "tiny-2");
    refuses(&store, 3, ["tree", "nosuch"], "there is no image or VM nosuch");
}

#[test]
fn the_tree_of_a_vm_shows_nobody_elses_snapshots() {
    let store = tiny();
    store.ok(["clone", "tiny", "-n", "2", "web"]);
    for name in ["web-1", "web-2"] {
        store.ok(["snapshot", "create", name, "s1"]);
        store.ok(["snapshot", "create", name, "s2"]);
        store.ok(["snapshot", "revert", name, "s1"]);
    }
    let tree = store.ok(["tree", "web-1"]);
    assert!(tree.contains("web-1@s1") && tree.contains("web-1@s2"), "{tree}");
    assert!(!tree.contains("web-2"), "{tree}");
    let labels = |args: [&str; 2]| -> Vec<String> {
        let layers = json(&store, args)[0]["layers"].clone();
        let label = |layer: &Value| layer["label"].as_str().expect("a label").to_owned();
        layers.as_array().expect("a list").iter().map(label).collect()
    };
    assert_eq!(labels(["tree", "web-1"]), ["web-1@s1", "web-1@s2"]);
    assert_eq!(labels(["tree", "tiny"]).len(), 4);
    store.ok(["clone", "web-2@s2", "copy"]);
    assert_eq!(labels(["tree", "copy"]), ["web-2@s1", "web-2@s2"]);
    assert_eq!(labels(["tree", "web-2"]), ["web-2@s1", "web-2@s2"]);
}

#[test]
fn the_tree_of_a_vm_shows_who_stands_on_it() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    store.ok(["snapshot", "create", "web", "s1"]);
    store.ok(["clone", "web@s1", "copy"]);
    store.ok(["snapshot", "create", "copy", "s1"]);
    store.ok(["clone", "copy@s1", "copy-of-copy"]);
    store.ok(["clone", "tiny", "other"]);
    let shown = |name: &str| {
        let clones = json(&store, ["tree", name])[0]["clones"].clone();
        let name = |clone: &Value| clone["name"].as_str().expect("a name").to_owned();
        clones.as_array().expect("a list").iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(shown("web"), ["copy", "copy-of-copy", "web"]);
    assert_eq!(shown("copy"), ["copy", "copy-of-copy"]);
    assert_eq!(shown("other"), ["other"]);
    assert_eq!(shown("tiny").len(), 4);
}

#[test]
fn a_clone_of_a_large_base_takes_at_most_16_kib() {
    let store = Store::new();
    let base = store.folder().join("large.raw");
    fs::File::create(&base).expect("a file").set_len(10 << 30).expect("sparse");
    store.ok(["image", "import", text(&base), "--name", "large"]);
    store.ok(["clone", "large"]);
    let dir = dir(&store, "large-1");
    let files = fs::read_dir(&dir).expect("a directory").map(|file| file.expect("a file").path());
    let bytes: u64 = files.chain([dir]).map(|p| p.metadata().expect("it").blocks() * 512).sum();
    assert!(bytes <= 16 << 10, "{bytes} bytes on disk");
}

#[test]
fn processes_that_clone_and_remove_at_once_do_not_disturb_each_other() {
    const PROCESSES: usize = 6;
    let store = tiny();
    thread::scope(|scope| {
        for process in 0..PROCESSES {
            let store = &store;
            scope.spawn(move || {
                let doomed = format!("doomed-{process}");
                store.ok(["clone", "tiny", &doomed]);
                store.ok(["clone", "tiny", "-n", "3"]);
                store.ok(["rm", &doomed]);
            });
        }
    });
    let names: BTreeSet<String> = names(&store).into_iter().collect();
    let expected = (1..=3 * PROCESSES).map(|n| format!("tiny-{n}")).collect();
    assert_eq!(names, expected);
    assert_tidy(&store);
}

#[test]
fn processes_that_make_the_store_at_once_make_one() {
    let store = Store::new();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| store.ok(["ls"]));
        }
    });
    assert_tidy(&store);
}

#[test]
fn of_processes_that_want_one_name_one_gets_it() {
    let store = tiny();
    let codes: Vec<Option<i32>> = thread::scope(|scope| {
        let clone = || finish(store.command(["clone", "tiny", "web"])).status.code();
        let racers: Vec<_> = (0..4).map(|_| scope.spawn(clone)).collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
    });
    assert_eq!(codes.iter().filter(|&&code| code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|&&code| code == Some(4)).count(), 3, "{codes:?}");
    assert_tidy(&store);
}
