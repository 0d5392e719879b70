//! Other people's clients.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::common::disk::flat;
use crate::common::store::Store;
use crate::support::{SIZE, Server, random, run, text, web};

/// Compares two files of the same length.
#[track_caller]
fn assert_same(a: &Path, b: &Path) {
    run("cmp", [a, b]);
}

/// A file of `bytes` beside the store.
fn file(store: &Store, name: &str, bytes: &[u8]) -> PathBuf {
    let path = store.folder().join(name);
    fs::write(&path, bytes).expect("written");
    path
}

#[test]
fn nbdinfo_finds_what_is_offered_and_where_data_are() {
    let store = web();
    let server = Server::start(&store, []);
    let info = run("nbdinfo", ["--json", &server.uri()]);
    let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
    let export = &info["exports"][0];
    assert_eq!(info["structured"], true);
    assert_eq!(export["export-size"], SIZE);
    for ability in ["can_multi_conn", "can_fua", "can_flush", "can_trim", "can_zero", "can_df"] {
        assert_eq!(export[ability], true, "{ability}");
    }
    let map = run("nbdinfo", ["--map", "--json", &server.uri()]);
    let map: serde_json::Value = serde_json::from_str(&map).expect("JSON");
    let half = 8 << 20;
    let found: Vec<_> = map
        .as_array()
        .expect("a list")
        .iter()
        .map(|extent| (extent["offset"].as_u64(), extent["length"].as_u64(), &extent["type"]))
        .map(|(offset, length, kind)| (offset.unwrap_or(0), length.unwrap_or(0), kind.as_u64()))
        .collect();
    assert_eq!(found, [(0, half, Some(0)), (half, SIZE - half, Some(3))]);
}

#[test]
fn nbdcopy_copies_in_and_out() {
    let store = web();
    let server = Server::start(&store, []);
    let mut bytes = random(20 << 20);
    bytes.resize(usize::try_from(SIZE).expect("small"), 0);
    bytes[1 << 20..5 << 20].fill(0);
    let (from, to) = (file(&store, "in", &bytes), store.folder().join("out"));
    run("nbdcopy", ["--flush", "--destination-is-zero", text(&from), &server.uri()]);
    // What the image has in place of the zeroes must not show: that was a lie.
    run("nbdcopy", ["--flush", text(&from), &server.uri()]);
    run("nbdcopy", [&server.uri(), text(&to)]);
    assert_same(&from, &to);
    assert_eq!(server.end(Signal::TERM), Some(0));
    assert_same(&from, &flat(&store, "web"));
}

#[test]
fn qemu_reads_and_compares_it() {
    let store = web();
    let raw = flat(&store, "web");
    let server = Server::start(&store, ["--read-only"]);
    run("qemu-img", ["compare", "-f", "raw", "-F", "raw", text(&raw), &server.uri()]);
    let qcow2 = store.folder().join("copy.qcow2");
    run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", &server.uri(), text(&qcow2)]);
    run("qemu-img", ["check", text(&qcow2)]);
    run("qemu-img", ["compare", text(&qcow2), text(&raw)]);
}

#[test]
fn qemu_writes_it() {
    let store = web();
    let server = Server::start(&store, []);
    let raw = file(&store, "in", &random(usize::try_from(SIZE).expect("small")));
    run("qemu-img", ["convert", "-n", "-f", "raw", "-O", "raw", text(&raw), &server.uri()]);
    run("qemu-img", ["compare", "-f", "raw", "-F", "raw", text(&raw), &server.uri()]);
}

#[test]
fn fio_verifies_what_many_jobs_wrote() {
    let store = web();
    let server = Server::start(&store, []);
    let uri = format!("--uri={}", server.uri());
    for (rw, sizes) in [("randwrite", "4k-4k"), ("randwrite", "512-20k"), ("write", "256k-1m")] {
        let (rw, sizes) = (format!("--rw={rw}"), format!("--bsrange={sizes}"));
        let mut args = vec!["--name=verify", "--ioengine=nbd", &uri, &rw, &sizes];
        args.extend(["--size=8m", "--offset_increment=16m", "--numjobs=4", "--iodepth=16"]);
        args.extend(["--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0"]);
        args.extend(["--fsync=64", "--randrepeat=0"]);
        run("fio", args);
    }
}

/// Makes a file system in a file, copies it through a server and back, and has its own checker
/// look at what came out of the clone.
fn file_system(make: &[&str], check: &[&str], size: u64) {
    let store = Store::new();
    let empty = store.folder().join("empty.raw");
    File::create(&empty).and_then(|file| file.set_len(1 << 20)).expect("a file");
    store.ok(["image", "import", text(&empty), "--name", "empty"]);
    store.ok(["clone", "empty", "web", "--disk-size", &size.to_string()]);
    let made = store.folder().join("made.raw");
    File::create(&made).and_then(|file| file.set_len(size)).expect("a file");
    run(make[0], make[1..].iter().copied().chain([text(&made)]));
    let server = Server::start(&store, []);
    run("nbdcopy", ["--flush", text(&made), &server.uri()]);
    let copied = store.folder().join("copied.raw");
    run("nbdcopy", [&server.uri(), text(&copied)]);
    run(check[0], check[1..].iter().copied().chain([text(&copied)]));
    assert_same(&made, &copied);
}

#[test]
fn ext4_goes_through_it() {
    file_system(&["mkfs.ext4", "-q", "-F", "-d", "docs"], &["e2fsck", "-fn"], 64 << 20);
}

#[test]
fn xfs_goes_through_it() {
    file_system(&["mkfs.xfs", "-q"], &["xfs_repair", "-n"], 400 << 20);
}

#[test]
fn btrfs_goes_through_it() {
    let check = ["btrfs", "check", "--check-data-csum"];
    file_system(&["mkfs.btrfs", "-q", "-r", "docs"], &check, 256 << 20);
}
