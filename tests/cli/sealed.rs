//! `export` and `attach`: a clone's changes in a file, and taken in by another store.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::disk::flat;
use crate::common::kvm;
use crate::common::store::{Store, both, ends, finish, succeeds};
use crate::support::{
    Tmpfs, assert_tidy, base_file, dir, fails, json, kernel_file, refuses, root, text, tiny,
};

/// Writes to the disk of a VM as its guest would: a pattern to every 16th block.
fn used(store: &Store, name: &str) {
    let cmdline = "--cmdline=offshoot.do=write:7:every=16,zero:range=8k+4k,flush,exit:0";
    store.ok(["clone", "tiny", name, "--memory=64M", cmdline]);
    store.ok(["start", name]);
    assert_eq!(store.ok(["wait", "-q", name]), "0\n");
}

fn export(store: &Store, name: &str) -> PathBuf {
    let file = store.folder().join(format!("{name}.sealed"));
    store.ok(["export", name, "-o", text(&file)]);
    file
}

/// A store with the same image under another name.
fn colleague() -> Store {
    let store = Store::new();
    let (base, kernel) = (base_file(&store), kernel_file(&store));
    store.ok(["image", "import", text(&base), "--name", "mine", "--kernel", text(&kernel)]);
    store
}

#[test]
fn a_guest_finds_in_another_store_what_it_wrote_in_the_first() {
    if !kvm("export and attach") {
        return;
    }
    let (here, there) = (tiny(), colleague());
    used(&here, "web");
    let file = export(&here, "web");
    assert_eq!(there.ok(["attach", text(&file), "--name", "copy"]), "copy\n");
    let cmdline = "offshoot.do=verify:7:every=16,verify-zero:range=8k+4k,write:8:every=16,exit:0";
    there.ok(["start", "copy", "--cmdline", cmdline]);
    assert_eq!(there.ok(["wait", "-q", "copy"]), "0\n");
    assert!(flat_bytes(&here, "web") != flat_bytes(&there, "copy"), "it was written to since");
    // And what was exported is not affected by that.
    here.ok(["start", "web", "--cmdline", "offshoot.do=verify:7:every=16,exit:0"]);
    assert_eq!(here.ok(["wait", "-q", "web"]), "0\n");
    assert_tidy(&here);
    assert_tidy(&there);
}

/// Read in a process of its own: a lock taken in this one would be held, too, by a program that
/// another test is just about to start.
fn flat_bytes(store: &Store, name: &str) -> Vec<u8> {
    let path = store.folder().join(name).with_extension("flat");
    store.ok(["export", name, "--flat", "--force", "-o", text(&path)]);
    fs::read(path).expect("the disk")
}

#[test]
fn an_attached_vm_has_the_same_disk_and_seals_to_the_same_file() {
    if !kvm("export and attach") {
        return;
    }
    let (here, there) = (tiny(), colleague());
    used(&here, "web");
    let file = export(&here, "web");
    // Without --name it is called as a clone would be.
    assert_eq!(there.ok(["attach", text(&file)]), "mine-1\n");
    assert!(flat_bytes(&here, "web") == flat_bytes(&there, "mine-1"));
    let again = export(&there, "mine-1");
    assert!(fs::read(&file).expect("a file") == fs::read(&again).expect("a file"));
    let report = json(&there, ["export", "mine-1", "-o", text(&there.folder().join("third"))]);
    let length = fs::metadata(&file).expect("a file").len();
    assert_eq!(report["bytes"], length);
    assert_eq!(report["zero_bytes"], 4096);
}

#[test]
fn snapshots_are_merged_and_a_flattened_disk_needs_no_base() {
    if !kvm("export of a chain") {
        return;
    }
    let (here, there) = (tiny(), colleague());
    used(&here, "web");
    here.ok(["snapshot", "create", "web", "one"]);
    here.ok(["start", "web", "--cmdline", "offshoot.do=write:8:every=32,flush,exit:0"]);
    assert_eq!(here.ok(["wait", "-q", "web"]), "0\n");
    let file = export(&here, "web");
    there.ok(["attach", text(&file), "--name", "merged"]);
    assert!(flat_bytes(&here, "web") == flat_bytes(&there, "merged"));

    here.ok(["flatten", "web"]);
    let file = here.folder().join("flattened.sealed");
    here.ok(["export", "web", "-o", text(&file)]);
    let error = "the image whose kernel it boots is not here";
    there.ok(["image", "import", text(&base_file(&there)), "--name", "other", "--cmdline", "x"]);
    assert_eq!(there.ok(["attach", text(&file), "--onto", "other", "--name", "alone"]), "alone\n");
    assert!(flat_bytes(&here, "web") == fs::read(flat_of(&there, "alone")).expect("the disk"));
    refuses(&Store::new(), 3, ["attach", text(&file)], error);
    assert_tidy(&there);
}

/// As [`flat`], of a VM that `inspect` shows no machine of, for want of a kernel.
fn flat_of(store: &Store, name: &str) -> PathBuf {
    store.ok(["rebase", name, "--onto", "mine"]);
    flat(store, name)
}

#[test]
fn settings_travel_and_name_and_uuid_do_not() {
    let (here, there) = (tiny(), colleague());
    let machine = ["--cpus=3", "--memory=96M", "--cmdline=a b", "--notes=two\nlines"];
    here.ok(["clone", "tiny", "web", "--label=a=1", "--label=b=2", "--disk-size=3M"]
        .into_iter()
        .chain(machine));
    let file = export(&here, "web");
    let made = json(&there, ["attach", text(&file), "--name", "copy"]);
    let (old, new) = (&here.inspect("web"), &there.inspect("copy"));
    assert_eq!(made["name"], "copy");
    assert_ne!(old["spec"]["uuid"], new["spec"]["uuid"]);
    for same in ["cpus", "memory_mib", "notes", "labels", "disk_size"] {
        assert!(!old["vm"][same].is_null(), "inspect calls {same} otherwise");
        assert_eq!(old["vm"][same], new["vm"][same], "{same}");
    }
    assert_eq!(old["spec"]["boot"]["cmdline"], new["spec"]["boot"]["cmdline"]);
    assert_tidy(&there);
}

#[test]
fn the_same_content_is_the_same_file_whenever_it_is_exported() {
    let store = tiny();
    store.ok(["clone", "tiny", "-n", "2"]);
    let (one, two) = (export(&store, "tiny-1"), export(&store, "tiny-2"));
    assert!(fs::read(one).expect("a file") == fs::read(two).expect("a file"));
}

/// `export NAME -o - | attach -`, through a pipe between the two processes.
#[test]
fn a_vm_goes_through_a_pipe_from_store_to_store() {
    let (here, there) = (tiny(), colleague());
    here.ok(["clone", "tiny", "web"]);
    let mut export = here.command(["export", "web", "-o", "-"]).spawn().expect("it starts");
    let mut attach = there.command(["attach", "-", "--name", "copy"]);
    attach.stdin(export.stdout.take().expect("piped"));
    assert_eq!(succeeds(attach), "copy\n");
    assert!(export.wait().expect("it was started").success());
    assert!(flat_bytes(&here, "web") == flat_bytes(&there, "copy"));
    assert_tidy(&there);
}

#[test]
fn another_base_is_refused_with_both_digests() {
    let (here, there) = (tiny(), colleague());
    here.ok(["clone", "tiny", "web"]);
    let file = export(&here, "web");
    let other = there.folder().join("other.raw");
    fs::write(&other, vec![1; 1 << 20]).expect("written");
    there.ok(["image", "import", text(&other), "--name", "other"]);
    let digest = |store: &Store, image: &str| {
        let record = json(store, ["image", "inspect", image]);
        record[0]["base"]["digest"].as_str().expect("text").to_owned()
    };
    let said = fails(5, there.command(["attach", text(&file), "--onto", "other"]));
    assert!(said.contains(&digest(&here, "tiny")), "{said}");
    assert!(said.contains(&digest(&there, "other")), "{said}");
    there.ok(["image", "rm", "mine"]);
    let said = fails(3, there.command(["attach", text(&file)]));
    assert!(said.contains(&digest(&here, "tiny")), "{said}");
    assert_eq!(there.ok(["ls", "-q"]), "");
    assert_tidy(&there);
}

#[test]
fn of_several_images_with_the_base_the_same_one_is_taken_or_one_must_be_named() {
    let (here, there) = (tiny(), Store::new());
    here.ok(["clone", "tiny", "web"]);
    let file = export(&here, "web");
    let (base, kernel) = (base_file(&there), kernel_file(&there));
    for name in ["a", "b"] {
        there.ok(["image", "import", text(&base), "--name", name, "--cmdline", name]);
    }
    refuses(&there, 2, ["attach", text(&file)], "several images have the base it stands on: a, b");
    assert_eq!(there.ok(["attach", text(&file), "--onto", "b"]), "b-1\n");
    there.ok(["image", "import", text(&base), "--name", "c", "--kernel", text(&kernel)]);
    assert_eq!(there.ok(["attach", text(&file)]), "c-1\n");
}

#[test]
fn damaged_cut_and_foreign_files_leave_nothing_behind() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    let file = export(&store, "web");
    let whole = fs::read(&file).expect("a file");
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&file, bytes).expect("written");
        refuses(&store, 5, ["attach", text(&file)], what);
        refuses(&store, 5, ["attach", text(&file)], text(&file));
    };
    refused(&whole[..whole.len() - 1], "is truncated");
    refused(&[&whole[..], b"x"].concat(), "something follows its end");
    let mut flipped = whole.clone();
    flipped[300] ^= 1;
    refused(&flipped, "is damaged at byte 256");
    refused(b"hello", "is not a sealed file");
    refuses(&store, 3, ["attach", "/missing"], "/missing");
    let said = fails(5, {
        let mut attach = store.command(["attach", "-"]);
        attach.stdin(File::open("/dev/null").expect("it is there"));
        attach
    });
    assert!(said.contains("standard input is truncated"), "{said}");
    assert_eq!(store.ok(["ls", "-q"]), "web\n");
    assert_tidy(&store);
}

#[test]
fn names_and_files_that_are_taken_are_refused() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    let file = export(&store, "web");
    let before = fs::read(&file).expect("a file");
    refuses(&store, 4, ["export", "web", "-o", text(&file)], "exists");
    assert!(fs::read(&file).expect("a file") == before);
    let taken = "the name web is taken by a VM";
    refuses(&store, 4, ["attach", text(&file), "--name", "web"], taken);
    refuses(&store, 3, ["export", "nobody", "-o", "x"], "there is no VM nobody");
    let nowhere = store.folder().join("missing/file");
    refuses(
        &store,
        3,
        ["export", "web", "-o", text(&nowhere)],
        text(nowhere.parent().expect("one")),
    );
}

#[test]
fn a_damaged_delta_is_not_exported() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    let delta = dir(&store, "web").join("delta");
    File::options().write(true).open(&delta).expect("a delta").set_len(100).expect("cut");
    let file = store.folder().join("web.sealed");
    refuses(&store, 5, ["export", "web", "-o", text(&file)], "truncated");
    fs::remove_file(&delta).expect("removed");
    refuses(&store, 5, ["export", "web", "-o", text(&file)], text(&delta));
    assert_eq!(sealed_files(store.folder()), 0);
}

/// Files that `export` made, drafts included.
fn sealed_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable"));
    let names = entries.map(|entry| entry.file_name().into_string().expect("text"));
    names.filter(|name| name.ends_with(".sealed") || name.starts_with(".offshoot")).count()
}

/// Starts `attach -`, gives it the start of a file, and lets it wait for more.
fn half_attached(store: &Store, bytes: &[u8]) -> Child {
    let mut attach = store.command(["attach", "-", "--name", "copy"]);
    let mut child = attach.stdin(Stdio::piped()).spawn().expect("it starts");
    child.stdin.as_mut().expect("piped").write_all(bytes).expect("it reads");
    let tmp = store.folder().join("root/tmp");
    while fs::read_dir(&tmp).expect("tmp/").next().is_none() {
        assert!(child.try_wait().expect("ours").is_none(), "it ended early");
        std::thread::yield_now();
    }
    child
}

#[test]
fn ctrl_c_while_attaching_from_a_silent_pipe_leaves_nothing_behind() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    let whole = fs::read(export(&store, "web")).expect("a file");
    let mut child = half_attached(&store, &whole[..whole.len() - 10]);
    kill_process(Pid::from_child(&child), Signal::INT).expect("it is ours");
    // Its stdin stays open: it must not wait for that.
    let status = child.wait().expect("it was started");
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("cannot attach standard input: interrupted"), "{said}");
    assert_eq!(store.ok(["ls", "-q"]), "web\n");
    assert_tidy(&store);
}

#[test]
fn a_vm_comes_through_a_fifo_and_ctrl_c_ends_the_wait_for_its_writer() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    let whole = fs::read(export(&store, "web")).expect("a file");
    let fifo = store.folder().join("fifo");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, 0o600.into(), 0).expect("a FIFO");
    let attach = || store.command(["attach", text(&fifo)]).spawn().expect("it starts");

    let mut child = attach();
    let caught = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let mask = u64::from_str_radix(mask.expect("a mask").trim(), 16).expect("a number");
        mask & 1 << (Signal::INT.as_raw() - 1) != 0
    };
    while !caught() {
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::INT).expect("it is ours");
    assert_eq!(child.wait().expect("it was started").code(), Some(130));

    let mut child = attach();
    fs::write(&fifo, whole).expect("it reads");
    assert_eq!(child.wait().expect("it was started").code(), Some(0));
    assert_eq!(store.ok(["ls", "-q"]), "tiny-1\nweb\n");
}

#[test]
fn a_reader_that_goes_away_makes_export_fail() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    let mut export = store.command(["export", "web", "-o", "-"]);
    // The read end of this pipe is closed before anything is written.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = finish({
        export.stdout(writer);
        export
    });
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write standard output"));
}

#[test]
fn a_full_disk_leaves_no_half_vm_and_no_half_file() {
    if !kvm("a full disk") || !root("a full disk") {
        return;
    }
    let (here, there) = (tiny(), Store::new());
    here.ok(["clone", "tiny", "web", "--disk-size=16M", "--memory=64M"]);
    here.ok(["start", "web", "--cmdline", "offshoot.do=write:7,flush,exit:0"]);
    assert_eq!(here.ok(["wait", "-q", "web"]), "0\n");
    let file = export(&here, "web");
    let root = there.folder().join("root");
    let Some(_tmpfs) = Tmpfs::mount(&root, "8m") else { return };
    let base = base_file(&there);
    there.ok(["image", "import", text(&base), "--name", "mine"]);
    refuses(&there, 6, ["attach", text(&file)], "No space left on device");
    assert_eq!(there.ok(["ls", "-q"]), "");
    assert_tidy(&there);
    let full = root.join("web.sealed");
    let filler = root.join("filler");
    let _ = fs::write(&filler, vec![1; 16 << 20]);
    ends(6, here.command(["export", "web", "-o", text(&full)]));
    assert_eq!(sealed_files(&root), 0);
}

#[test]
fn an_exported_file_is_its_owners_alone() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    let file = export(&store, "web");
    let mode = fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "disks hold secrets");
}
