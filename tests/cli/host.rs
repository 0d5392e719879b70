//! What is around the program: the host's KVM, the environment, pipes, the command line itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;

use crate::common::kvm;
use crate::common::store::{Store, finish};
use crate::support::{fails, json, refuses, root, text, tiny, tiny_in};

/// The same command as somebody who may not open /dev/kvm.
fn as_nobody(store: &Store, mut command: Command) -> Option<Command> {
    let mode = fs::metadata("/dev/kvm").ok()?.permissions().mode();
    if mode & 0o006 != 0 || !root("a forbidden /dev/kvm") {
        eprintln!("NOT TESTED: a forbidden /dev/kvm: everybody may open it here");
        return None;
    }
    fs::set_permissions(store.folder(), fs::Permissions::from_mode(0o777)).expect("permissions");
    command.env("TMPDIR", store.folder()).uid(65534).gid(65534);
    Some(command)
}

#[test]
fn without_kvm_the_demo_ends_with_7_and_says_what_to_do() {
    let store = Store::new();
    let Some(demo) = as_nobody(&store, store.command(["demo"])) else { return };
    let error = fails(7, demo);
    assert!(error.contains("cannot run the demo: /dev/kvm may not be opened"), "{error}");
    assert!(error.contains("usermod -aG kvm"), "{error}");
    let left: Vec<_> = fs::read_dir(store.folder()).expect("the folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn without_kvm_doctor_and_start_say_so_with_7() {
    let store = Store::new();
    let Some(doctor) = as_nobody(&store, store.command(["doctor"])) else { return };
    let output = finish(doctor);
    assert_eq!(output.status.code(), Some(7));
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(report.contains("bad      kvm: /dev/kvm may not be opened"), "{report}");
}

#[test]
fn doctor_finds_a_fresh_store_well() {
    if !kvm("doctor") {
        return;
    }
    let store = tiny();
    let findings = json(&store, ["doctor"]);
    let of = |check: &str| -> Value {
        let mut all = findings.as_array().expect("a list").iter();
        all.find(|finding| finding["check"] == check).expect("it is checked").clone()
    };
    assert_eq!(of("inventory")["verdict"], "ok");
    assert_ne!(of("kvm")["verdict"], "bad");
    assert!(of("store")["text"].as_str().expect("text").contains(text(store.folder())));
}

#[test]
fn doctor_lists_what_was_left_half_made_and_touches_nothing() {
    let store = tiny();
    let left = store.folder().join("root/tmp/import-0");
    fs::create_dir(&left).expect("made");
    let output = finish(store.command(["doctor", "-q"]));
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(report.contains(&format!("{} was never finished", text(&left))), "{report}");
    assert!(report.contains("try: offshoot doctor --fix"), "{report}");
    assert!(left.exists());
}

#[test]
fn usage_errors_end_with_2() {
    let store = Store::new();
    for args in [&["nosuch"][..], &["clone"], &["ls", "--nosuch"], &["run", "a", "--timeout", "x"]]
    {
        fails(2, store.command(args));
    }
    refuses(&store, 2, ["clone", "a", "--label", "b"], "KEY=VALUE");
}

#[test]
fn global_flags_have_environment_variables() {
    let store = tiny();
    let mut ls = store.command(["image", "ls"]);
    ls.env("OFFSHOOT_FORMAT", "json");
    let images: Value = serde_json::from_slice(&finish(ls).stdout).expect("JSON");
    assert_eq!(images[0]["name"], "tiny");
    let mut ls = store.command(["image", "ls"]);
    ls.env("OFFSHOOT_QUIET", "true");
    assert_eq!(finish(ls).stdout, b"tiny\n");
    let elsewhere = store.folder().join("elsewhere");
    assert_eq!(store.ok(["--root", text(&elsewhere), "image", "ls", "-q"]), "");
}

#[test]
fn the_store_is_its_owners_alone() {
    let store = tiny();
    for dir in ["root", "root/vms", "root/images", "root/tmp"] {
        let mode =
            fs::metadata(store.folder().join(dir)).expect("a directory").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{dir}");
    }
}

#[test]
fn an_inventory_is_its_owners_alone_in_a_directory_that_is_not() {
    let store = Store::new();
    let root = store.folder().join("root");
    fs::create_dir(&root).expect("made");
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("permissions");
    tiny_in(&store);
    for name in ["inventory.db", "inventory.db-wal", "inventory.db-shm", "events.jsonl"] {
        let mode = fs::metadata(root.join(name)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}

#[test]
fn version_and_completion_are_printed() {
    let store = Store::new();
    let version = format!("offshoot {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(store.ok(["version"]), version);
    assert_eq!(json(&store, ["version"])["version"], env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(store.ok(["completion", shell]).contains("offshoot"), "{shell}");
    }
    assert!(!store.folder().join("root").exists(), "neither needs a store");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let store = tiny();
    let mut help = store.command(["completion", "bash"]).spawn().expect("it starts");
    drop(help.stdout.take());
    let output = help.wait_with_output().expect("it ended");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn sockets_are_not_put_where_others_can_reach_them() {
    if !kvm("an open runtime directory") {
        return;
    }
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--memory=64M"]);
    let open = store.folder().join("run");
    let ours = open.join("offshoot");
    fs::create_dir_all(&ours).expect("made");
    fs::set_permissions(&ours, fs::Permissions::from_mode(0o755)).expect("permissions");
    let mut start = store.command(["start", "web"]);
    start.env("XDG_RUNTIME_DIR", &open);
    let error = fails(1, start);
    assert!(error.contains("must be a directory of this user with mode 0700"), "{error}");
}
