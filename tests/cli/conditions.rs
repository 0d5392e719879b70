//! Stores in odd places: read-only, somebody else's, two at once, nowhere.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};

use crate::common::kvm;
use crate::common::store::{Store, finish};
use crate::support::{Tmpfs, fails, root, state, text, tiny, tiny_in};

/// Nobody's user and group.
const NOBODY: u32 = 65534;

fn mount(args: &[&str], at: &Path) {
    let status = Command::new("mount").args(args).arg(at).status().expect("util-linux is there");
    assert!(status.success(), "mount {args:?}");
}

#[test]
fn a_store_that_is_read_only_says_so_and_is_as_it_was() {
    if !root("a read-only store") {
        return;
    }
    let store = Store::new();
    let place = store.folder().join("root");
    let Some(_small) = Tmpfs::mount(&place, "24m") else { return };
    tiny_in(&store);
    store.ok(["clone", "tiny", "web"]);
    mount(&["-o", "remount,ro"], &place);
    assert_eq!(store.ok(["ls", "-q"]), "web\n");
    for command in [&["clone", "tiny"][..], &["rm", "web"], &["rename", "web", "other"]] {
        let said = fails(1, store.command(command)).to_lowercase().replace("readonly", "read-only");
        assert!(said.contains("read-only"), "{command:?}: {said}");
        assert!(said.contains("try: ") && said.contains("--root"), "{command:?}: {said}");
    }
    assert!(store.ok(["doctor"]).contains("; it is read-only\n"));
    mount(&["-o", "remount,rw"], &place);
    assert_eq!(store.ok(["ls", "-q"]), "web\n");
}

#[test]
fn a_store_of_somebody_else_says_so() {
    if !root("a store of somebody else") {
        return;
    }
    let store = tiny();
    fs::set_permissions(store.folder(), fs::Permissions::from_mode(0o755)).expect("permissions");
    for command in [&["ls"][..], &["clone", "tiny"], &["image", "ls"]] {
        let mut theirs = store.command(command);
        theirs.uid(NOBODY).gid(NOBODY);
        let said = fails(1, theirs);
        let place = store.folder().join("root");
        assert!(said.contains(&format!("cannot open the store {}", place.display())), "{said}");
        assert!(said.contains("ermission denied") && said.contains("--root"), "{said}");
    }
    assert_eq!(store.ok(["image", "ls", "-q"]), "tiny\n");
}

#[test]
fn without_a_home_somebody_must_say_where_the_store_is() {
    if !root("a user without a home") {
        return;
    }
    let store = Store::new();
    let mut ls = store.command(["ls"]);
    for name in ["HOME", "XDG_DATA_HOME", "OFFSHOOT_ROOT"] {
        ls.env_remove(name);
    }
    let said = fails(2, {
        ls.uid(NOBODY).gid(NOBODY);
        ls
    });
    assert!(said.contains("$HOME is not set"), "{said}");
    assert!(said.contains("try: --root DIR, or OFFSHOOT_ROOT=DIR"), "{said}");
}

#[test]
fn two_stores_with_the_same_names_do_not_see_each_other() {
    if !kvm("two stores") {
        return;
    }
    // They share a directory for sockets, as all of a user's do.
    let (one, other) = (tiny(), tiny());
    let of_other = |args: &[&str]| {
        let mut command = other.command(args);
        command.env("XDG_RUNTIME_DIR", one.folder());
        assert!(finish(command).status.success(), "{args:?}");
    };
    let clone = ["clone", "tiny", "web", "--memory=64M", "--cmdline=offshoot.do=idle", "--start"];
    one.ok(clone);
    of_other(&clone);
    one.ok(["stop", "--force", "web"]);
    assert_eq!(
        (state(&one, "web").as_str(), state(&other, "web").as_str()),
        ("stopped", "running")
    );
    one.ok(["doctor", "--fix"]);
    one.ok(["rm", "web"]);
    assert_eq!(state(&other, "web"), "running");
    of_other(&["pause", "web"]);
    of_other(&["stop", "--force", "web"]);
}

#[test]
fn a_copy_of_a_store_leaves_the_vms_of_the_first_alone() {
    if !kvm("a copied store") {
        return;
    }
    let (one, other) = (tiny(), Store::new());
    one.ok(["clone", "tiny", "web", "--memory=64M", "--cmdline=offshoot.do=idle", "--start"]);
    let root = |store: &Store| store.folder().join("root");
    let copied = Command::new("cp").arg("-a").args([root(&one), root(&other)]).status();
    assert!(copied.expect("coreutils are there").success());
    let of_other = |args: &[&str]| {
        let mut command = other.command(args);
        command.env("XDG_RUNTIME_DIR", one.folder());
        finish(command)
    };
    let socket = one.inspect("web")["sockets"].as_str().expect("it runs").to_owned();
    assert!(of_other(&["doctor", "--fix"]).status.success());
    let refused = of_other(&["start", "web"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("the same VM of a copy of this store runs"), "{said}");
    assert!(of_other(&["rm", "web"]).status.success());
    assert!(Path::new(&socket).join("control.sock").exists(), "they are the first one's");
    one.ok(["pause", "web"]);
    assert_eq!(state(&one, "web"), "paused");
}

#[test]
fn who_waits_for_another_command_says_so() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    let root = store.folder().join("root");
    let (layers, merging) = (root.join("layers"), root);
    for (held, command) in [(layers, ["clone", "web"]), (merging, ["commit", "web"])] {
        let held = fs::File::open(held).expect("a directory");
        flock(&held, FlockOperation::LockExclusive).expect("a lock");
        let mut waits = store.command(command).spawn().expect("it starts");
        let mut said = BufReader::new(waits.stderr.take().expect("it is piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("text");
        let me = std::process::id();
        let expected = format!(
            "offshoot: waiting for another command that changes this store: process {me}\n"
        );
        assert_eq!(line, expected, "{command:?}");
        drop(held);
        waits.wait().expect("it ended");
    }
    assert_eq!(store.ok(["ls", "-q"]), "web\nweb-1\n");
}

#[test]
fn what_cannot_be_said_on_stderr_changes_no_result() {
    let store = tiny();
    let base = store.folder().join("base.raw");
    let remark = ["image", "import", text(&base), "--name", "again", "--format", "raw"];
    for (command, code) in [(&["start", "nosuch"][..], 3), (&["nosuch"], 2), (&remark, 0)] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let full = fs::File::options().write(true).open("/dev/full").expect("it is there");
        for stderr in [Stdio::from(full), Stdio::from(writer)] {
            let mut unheard = store.command(command);
            unheard.stderr(stderr);
            assert_eq!(finish(unheard).status.code(), Some(code), "{command:?}");
            finish(store.command(["image", "rm", "again"]));
        }
    }
}

#[test]
fn a_reader_that_goes_away_ends_every_list_quietly() {
    let store = tiny();
    store.ok(["clone", "tiny", "-n", "40"]);
    let lists: [&[&str]; 5] =
        [&["ls"], &["ls", "--format=json"], &["tree"], &["events"], &["doctor", "--format=json"]];
    for list in lists {
        let mut child = store.command(list).spawn().expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ended");
        assert!(output.status.success(), "{list:?} ended with {}", output.status);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{list:?}");
    }
}
