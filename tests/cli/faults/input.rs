//! Names and files that nobody should give: each is refused with a clear error, and the store is
//! as it was.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::common::store::Store;
use crate::support::{assert_tidy, dir, fails, refuses, state, text, tiny};

/// The largest file there can be here, and the largest there can be at all.
const HUGE: [u64; 2] = [1 << 43, (1 << 63) - 1];

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("coreutils").success());
}

#[test]
fn names_that_are_paths_options_or_protocols_are_refused() {
    let store = tiny();
    // The last ones only look like `web`: with a Cyrillic letter, a wide one, and an invisible one.
    let names = ["..", ".", "../x", "a/b", "-x", "nbd:x", "", "a b", "x\n", "json:{}"];
    let lookalikes = ["w\u{435}b", "\u{ff57}eb", "web\u{200b}"];
    let long = "x".repeat(64);
    for name in names.into_iter().chain(lookalikes).chain([long.as_str()]) {
        let clone = fails(2, store.command(["clone", "tiny", "--", name]));
        assert!(!clone.is_empty());
        fails(2, store.command(["clone", "--", name, "web"]));
        fails(2, store.command(["rm", "-f", "--", name]));
    }
    assert_tidy(&store);
    assert_eq!(store.ok(["ls", "-a", "-q"]), "");
}

#[test]
fn what_is_no_file_is_not_imported_and_nobody_waits_for_it() {
    let store = Store::new();
    let folder = store.folder();
    let pipe = folder.join("pipe");
    fifo(&pipe);
    let nowhere = folder.join("nowhere");
    symlink(folder.join("missing"), &nowhere).expect("a symlink");
    let looped = folder.join("loop");
    symlink(&looped, &looped).expect("a symlink");
    for (path, code) in
        [(&*pipe, 1), (folder, 1), (Path::new("/dev/zero"), 1), (&nowhere, 3), (&looped, 1)]
    {
        let args = ["image", "import", text(path), "--name", "x", "--format", "raw"];
        let said = fails(code, store.command(args));
        assert!(said.contains(text(path)), "{said}");
    }
    refuses(&store, 3, ["image", "import", "nbd:localhost:1", "--name", "x"], "nbd:localhost:1");
}

#[test]
fn a_file_larger_than_any_disk_is_refused_before_it_is_read() {
    let store = Store::new();
    let path = store.folder().join("huge");
    let file = File::create(&path).expect("a file");
    // As large as this filesystem takes.
    let len = HUGE.into_iter().rev().find(|&len| file.set_len(len).is_ok());
    let Some(len) = len.filter(|&len| len > 1 << 46) else { return };
    let args = ["image", "import", text(&path), "--name", "x", "--format", "raw"];
    let said = fails(1, store.command(args));
    assert!(said.contains(&len.to_string()) || said.contains("cannot be"), "{said}");
    let left = fs::read_dir(store.folder().join("root/images")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "images are left behind");
}

#[test]
fn files_of_a_vm_that_lead_elsewhere_are_neither_followed_nor_waited_for() {
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--memory=64M"]);
    let target = store.folder().join("target");
    fs::write(&target, "{}").expect("written");
    let stand_ins: [fn(&Path, &Path); 2] =
        [|at, to| symlink(to, at).expect("a symlink"), |at, _| fifo(at)];
    for name in ["lock", "console.log", "monitor.log", "delta"] {
        let place = dir(&store, "web").join(name);
        let saved = store.folder().join(name);
        let _ = fs::rename(&place, &saved);
        for stand_in in stand_ins {
            stand_in(&place, &target);
            let said = store.command(["start", "web"]).output().expect("it ends");
            assert!(matches!(said.status.code(), Some(1..=5)), "{name}: {said:?}");
            store.ok(["ls"]);
            fs::remove_file(&place).expect("it is still there");
        }
        let _ = fs::rename(&saved, &place);
    }
    let delta = dir(&store, "web").join("delta");
    fs::remove_file(&delta).expect("removed");
    symlink(&target, &delta).expect("a symlink");
    store.ok(["rm", "web"]);
    assert_eq!(fs::read_to_string(&target).expect("it is there"), "{}");
    assert_tidy(&store);
}

#[test]
fn a_delta_that_is_no_file_is_refused_at_start_and_left_alone() {
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--memory=64M"]);
    let delta = dir(&store, "web").join("delta");
    let saved = store.folder().join("saved");
    fs::rename(&delta, &saved).expect("moved");
    let target = store.folder().join("target");
    fs::write(&target, [7; 4096]).expect("written");
    let stand_ins: [fn(&Path, &Path); 3] = [
        |delta, _| fifo(delta),
        |delta, target| symlink(target, delta).expect("a symlink"),
        |delta, _| fs::create_dir(delta).expect("a directory"),
    ];
    for stand_in in stand_ins {
        stand_in(&delta, &target);
        let said = store.command(["start", "web"]).output().expect("it ends");
        assert!(matches!(said.status.code(), Some(1..=5)), "{said:?}");
        let words = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(words.starts_with("offshoot: cannot start web: "), "{words}");
        let found = fs::symlink_metadata(&delta).expect("it is still there");
        if found.is_dir() {
            fs::remove_dir(&delta).expect("removed");
        } else {
            fs::remove_file(&delta).expect("removed");
        }
    }
    assert_eq!(fs::read(&target).expect("it is there"), [7; 4096]);
    fs::rename(&saved, &delta).expect("moved");
    assert!(["created", "stopped"].contains(&state(&store, "web").as_str()));
    assert_tidy(&store);
}
