//! Commands and monitors killed between any two steps: nothing they reported is lost, the same
//! command works the next time, and `doctor --fix` leaves nothing to be found.

use std::fs;
use std::process::Command;

use super::{fix, root};
use crate::common::kvm;
use crate::common::store::{Store, finish};
use crate::support::{assert_tidy, base_file, json, kernel_file, obeys, state, text, tiny};

/// Runs a command that dies at a point; nothing where it does not come by.
#[track_caller]
fn dies(store: &Store, args: &[&str], point: &str) {
    let mut command = store.command(args);
    command.env("OFFSHOOT_TEST_DIE_AT", point);
    assert_killed(command, point);
}

#[track_caller]
fn assert_killed(command: Command, point: &str) {
    let words = format!("{command:?}");
    assert_eq!(finish(command).status.code(), None, "{words} does not come by {point}");
}

/// `doctor --fix` did something, and then there is nothing left to do.
#[track_caller]
fn assert_fixed(store: &Store, point: &str) {
    let report = fix(store);
    assert!(report.contains("fixed  "), "{point}: {report}");
    assert_tidy(store);
}

fn names(store: &Store) -> String {
    store.ok(["ls", "-q"])
}

#[test]
fn a_clone_that_dies() {
    for (point, after) in [("clone-made", "kept\n"), ("clone-published", "kept\nweb-1\nweb-2\n")] {
        let store = tiny();
        store.ok(["clone", "tiny", "kept"]);
        dies(&store, &["clone", "tiny", "web", "-n", "2"], point);
        assert_eq!(names(&store), "kept\n");
        assert_fixed(&store, point);
        assert_eq!(names(&store), after, "{point}");
        store.ok(["clone", "tiny", "more"]);
    }
}

#[test]
fn a_clone_that_died_and_was_made_again_does_not_take_the_name_of_the_second() {
    let store = tiny();
    dies(&store, &["clone", "tiny", "web"], "clone-published");
    store.ok(["clone", "tiny", "web", "--notes=the second"]);
    assert_fixed(&store, "clone-published");
    assert_eq!(names(&store), "web\nweb-2\n");
    assert_eq!(json(&store, ["ls"])[0]["notes"], "the second");
}

#[test]
fn an_rm_that_dies() {
    for (point, after) in [("vm-taken", "web-1\nweb-2\n"), ("trash-taken", "")] {
        let store = tiny();
        store.ok(["clone", "tiny", "web", "-n", "2"]);
        dies(&store, &["rm", "web-1", "web-2"], point);
        assert_fixed(&store, point);
        assert_eq!(names(&store), after, "{point}");
    }
}

#[test]
fn an_import_that_dies() {
    for (point, after) in [("image-made", ""), ("image-published", "tiny\n")] {
        let store = Store::new();
        let (base, kernel) = (base_file(&store), kernel_file(&store));
        let import = ["image", "import", text(&base), "--name", "tiny", "--kernel", text(&kernel)];
        dies(&store, &import, point);
        assert_eq!(store.ok(["image", "ls", "-q"]), "");
        assert_fixed(&store, point);
        assert_eq!(store.ok(["image", "ls", "-q"]), after, "{point}");
        if after.is_empty() {
            store.ok(import);
        }
        store.ok(["image", "verify", "tiny"]);
        store.ok(["clone", "tiny"]);
    }
}

#[test]
fn an_import_over_one_that_died_is_told_what_to_do() {
    let store = Store::new();
    let base = base_file(&store);
    let import = ["image", "import", text(&base), "--name", "tiny"];
    dies(&store, &import, "image-published");
    let again = finish(store.command(import));
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(again.status.code(), Some(4), "{said}");
    assert!(said.contains("try: offshoot doctor --fix"), "{said}");
    fix(&store);
    assert_eq!(store.ok(["image", "ls", "-q"]), "tiny\n");
}

#[test]
fn an_image_rm_that_dies() {
    for (point, after) in [("image-taken", "tiny\n"), ("trash-taken", "")] {
        let store = tiny();
        dies(&store, &["image", "rm", "tiny"], point);
        assert_fixed(&store, point);
        assert_eq!(store.ok(["image", "ls", "-q"]), after, "{point}");
    }
}

#[test]
fn an_attach_that_dies() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    let sealed = store.folder().join("web.sealed");
    store.ok(["export", "web", "-o", text(&sealed)]);
    dies(&store, &["attach", text(&sealed), "--name", "copy"], "attach-published");
    assert_fixed(&store, "attach-published");
    assert_eq!(names(&store), "copy\nweb\n");
}

#[test]
fn a_snapshot_that_dies() {
    let points = [
        ("layer-made", ""),
        ("layer-published", ""),
        ("delta-made", ""),
        ("delta-replaced", "s1\n"),
        ("layer-indexed", "s1\n"),
    ];
    for (point, after) in points {
        let store = tiny();
        store.ok(["clone", "tiny", "web"]);
        dies(&store, &["snapshot", "create", "web"], point);
        assert_fixed(&store, point);
        assert_eq!(store.ok(["snapshot", "ls", "-q", "web"]), after, "{point}");
        store.ok(["snapshot", "create", "web", "next"]);
        assert_tidy(&store);
    }
}

#[test]
fn a_snapshot_over_one_that_died_needs_no_repair() {
    for point in ["layer-made", "layer-published", "delta-made", "delta-replaced", "layer-indexed"]
    {
        let store = tiny();
        store.ok(["clone", "tiny", "web"]);
        dies(&store, &["snapshot", "create", "web"], point);
        store.ok(["snapshot", "create", "web", "next"]);
        store.ok(["rm", "web"]);
        assert_eq!(names(&store), "");
    }
}

#[test]
fn a_rename_that_dies() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    dies(&store, &["rename", "web", "other"], "record-written");
    assert_fixed(&store, "record-written");
    assert_eq!(names(&store), "other\n");
    dies(&store, &["rename", "tiny", "small"], "record-written");
    assert_fixed(&store, "record-written");
    assert_eq!(store.ok(["image", "ls", "-q"]), "small\n");
}

#[test]
fn a_start_that_dies_leaves_a_vm_that_starts() {
    if !kvm("a start that dies") {
        return;
    }
    for point in ["start-signed", "monitor-spawned"] {
        let store = tiny();
        store.ok(["clone", "tiny", "web", "--memory=64M", "--cmdline=offshoot.do=exit:0"]);
        dies(&store, &["start", "web"], point);
        assert_eq!(state(&store, "web"), "created", "{point}");
        // Before there are sockets there is nothing to do.
        fix(&store);
        assert_tidy(&store);
        store.ok(["start", "web"]);
        assert_eq!(store.ok(["wait", "-q", "web"]), "0\n");
    }
}

#[test]
fn a_start_that_dies_while_it_cleans_an_ephemeral_vm() {
    if !kvm("a start that dies while it cleans") {
        return;
    }
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--memory=64M", "--ephemeral"]);
    obeys(&store, "web", "write:1,flush");
    dies(&store, &["start", "web"], "delta-cleaned");
    assert_fixed(&store, "delta-cleaned");
    obeys(&store, "web", "verify-base");
    assert_tidy(&store);
}

#[test]
fn a_monitor_that_dies_leaves_a_vm_that_starts() {
    if !kvm("a monitor that dies") {
        return;
    }
    for (point, after) in
        [("monitor-began", "created"), ("machine-ended", "killed"), ("end-recorded", "stopped")]
    {
        let store = tiny();
        store.ok(["clone", "tiny", "web", "--memory=64M", "--cmdline=offshoot.do=exit:0"]);
        let mut start = store.command(["start", "web"]);
        start.env("OFFSHOOT_TEST_DIE_AT", point);
        let started = finish(start).status.success();
        assert_eq!(started, point != "monitor-began", "{point}");
        finish(store.command(["wait", "web"]));
        assert_eq!(state(&store, "web"), after, "{point}");
        assert_fixed(&store, point);
        assert!(!store.folder().join("offshoot").read_dir().is_ok_and(|mut d| d.next().is_some()));
        store.ok(["start", "web"]);
        assert_eq!(store.ok(["wait", "-q", "web"]), "0\n");
    }
}

#[test]
fn a_killed_vm_that_is_removed_leaves_no_sockets() {
    if !kvm("rm of a killed VM") {
        return;
    }
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--memory=64M", "--cmdline=offshoot.do=exit:0"]);
    let mut start = store.command(["start", "web"]);
    start.env("OFFSHOOT_TEST_DIE_AT", "machine-ended");
    finish(start);
    finish(store.command(["wait", "web"]));
    store.ok(["rm", "web"]);
    let left = fs::read_dir(store.folder().join("offshoot")).expect("sockets' directory").count();
    assert_eq!(left, 0);
}

#[test]
fn a_record_that_was_half_written_beside_its_place_is_gone() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    let draft = crate::support::dir(&store, "web").join("vm.toml.new");
    fs::write(&draft, "version = 1").expect("written");
    assert_fixed(&store, "a draft");
    assert!(!draft.exists());
    assert_eq!(names(&store), "web\n");
}

#[test]
fn what_others_work_on_is_not_taken_for_left_over() {
    let store = tiny();
    let tmp = fs::File::open(root(&store).join("tmp")).expect("tmp/");
    rustix::fs::flock(&tmp, rustix::fs::FlockOperation::LockShared).expect("locked");
    let work = root(&store).join("tmp/import-0");
    fs::create_dir(&work).expect("made");
    fix(&store);
    assert!(work.exists());
    drop(tmp);
    fix(&store);
    assert!(!work.exists());
}
