//! Layers that are missing, damaged or not what they were: refused at start, named, and nothing
//! else touched.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::common::kvm;
use crate::common::store::Store;
use crate::support::{assert_tidy, dir, fails, refuses, text, tiny};

/// A VM `web` that ran once and wrote something, and its delta.
fn used() -> (Store, PathBuf) {
    let store = tiny();
    let cmdline = "--cmdline=offshoot.do=write:7:every=16,flush,exit:0";
    store.ok(["clone", "tiny", "web", "--memory=64M", cmdline, "--start"]);
    assert_eq!(store.ok(["wait", "-q", "web"]), "0\n");
    let delta = dir(&store, "web").join("delta");
    (store, delta)
}

fn base(store: &Store) -> PathBuf {
    let path = store.inspect("web")["spec"]["disks"][0]["stack"]["base"]["path"].clone();
    path.as_str().expect("a path").into()
}

fn overwrite(path: &PathBuf, at: u64, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("permissions");
    let file = File::options().write(true).open(path).expect("a file");
    file.write_all_at(bytes, at).expect("written");
}

fn flip_bit(path: &PathBuf, at: u64) {
    let mut byte = [0];
    File::open(path).expect("a file").read_exact_at(&mut byte, at).expect("read");
    overwrite(path, at, &[byte[0] ^ 1]);
}

#[test]
fn a_base_that_changed_since_the_clone_was_made_is_refused() {
    if !kvm("a changed base") {
        return;
    }
    let (store, _) = used();
    overwrite(&base(&store), 0, b"changed");
    refuses(&store, 5, ["start", "web"], "cannot start web: ");
    refuses(&store, 5, ["start", "web"], text(&base(&store)));
}

#[test]
fn a_base_that_became_shorter_is_refused() {
    if !kvm("a shorter base") {
        return;
    }
    let (store, _) = used();
    let base = base(&store);
    fs::set_permissions(&base, fs::Permissions::from_mode(0o644)).expect("permissions");
    File::options().write(true).open(&base).expect("a base").set_len(4096).expect("cut");
    refuses(&store, 5, ["start", "web"], text(&base));
}

#[test]
fn a_missing_base_is_refused() {
    if !kvm("a missing base") {
        return;
    }
    let (store, _) = used();
    let base = base(&store);
    fs::remove_file(&base).expect("removed");
    refuses(&store, 5, ["start", "web"], text(&base));
}

#[test]
fn a_damaged_delta_is_refused_and_left_as_it_is() {
    if !kvm("a damaged delta") {
        return;
    }
    let (store, delta) = used();
    let whole = fs::read(&delta).expect("a delta");
    // One bit of the header's uuid, and one of the first bitmap sector.
    for at in [16, 4096] {
        flip_bit(&delta, at);
        let damaged = fs::read(&delta).expect("a delta");
        refuses(&store, 5, ["start", "web"], text(&delta));
        assert!(fs::read(&delta).expect("a delta") == damaged, "it was written to");
        flip_bit(&delta, at);
    }
    File::options().write(true).open(&delta).expect("a delta").set_len(100).expect("cut");
    refuses(&store, 5, ["start", "web"], "truncated");
    fs::write(&delta, &whole).expect("restored");
    store.ok(["start", "web"]);
}

#[test]
fn a_delta_of_another_base_is_refused() {
    if !kvm("a delta of another base") {
        return;
    }
    let (store, delta) = used();
    let other = store.folder().join("other.raw");
    fs::write(&other, vec![1; 1 << 20]).expect("written");
    store.ok(["image", "import", text(&other), "--name", "other"]);
    store.ok(["clone", "other", "stranger"]);
    fs::copy(dir(&store, "stranger").join("delta"), &delta).expect("copied");
    refuses(&store, 5, ["start", "web"], "its disk stands on image other, its record says another");
}

#[test]
fn a_missing_delta_is_refused_and_the_rest_can_be_removed() {
    if !kvm("a missing delta") {
        return;
    }
    let (store, delta) = used();
    fs::remove_file(&delta).expect("removed");
    refuses(&store, 5, ["start", "web"], text(&delta));
    store.ok(["rm", "web"]);
}

#[test]
fn a_damaged_record_is_named_and_its_vm_can_be_removed() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    let record = dir(&store, "web").join("vm.toml");
    fs::write(&record, "version = 1\nname = 7").expect("written");
    refuses(&store, 5, ["start", "web"], text(&record));
    refuses(&store, 5, ["inspect", "web"], "is damaged");
    fs::write(&record, "version = 99").expect("written");
    refuses(&store, 5, ["start", "web"], "is of version 99, newer than this program");
    let report = crate::support::fails(5, store.command(["doctor"]));
    assert_eq!(report, "", "doctor prints on stdout");
    store.ok(["rm", "web"]);
    assert_eq!(store.ok(["ls", "-q"]), "");
}

#[test]
fn a_record_that_makes_no_sense_leads_elsewhere_or_never_ends_is_refused() {
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--notes=a note"]);
    let record = dir(&store, "web").join("vm.toml");
    let sound = fs::read_to_string(&record).expect("a record");
    let digest = store.inspect("web")["vm"]["image"].as_str().expect("a digest").to_owned();
    let elsewhere = store.folder().join("elsewhere");
    for (old, new, why) in [
        (digest.as_str(), text(&elsewhere), "is no digest"),
        ("cpus = 1", "cpus = 0", "1 to 255 vCPUs"),
        ("a note", "\\u001b]0;x\\u0007", "there are control characters in it"),
    ] {
        fs::write(&record, sound.replace(old, new)).expect("written");
        refuses(&store, 5, ["start", "web"], why);
    }
    for (place, why) in [("/dev/zero", "longer than any record"), ("/proc/self/mem", "cannot read")]
    {
        fs::remove_file(&record).expect("removed");
        std::os::unix::fs::symlink(place, &record).expect("a link");
        refuses(&store, 5, ["inspect", "web"], why);
    }
    fs::remove_file(&record).expect("removed");
    mknodat(CWD, &record, FileType::Fifo, Mode::RUSR, 0).expect("a FIFO");
    refuses(&store, 5, ["inspect", "web"], "is damaged");
    store.ok(["rm", "web"]);
}

#[test]
fn a_vm_whose_files_are_gone_is_listed_as_missing_and_can_be_removed() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    fs::remove_dir_all(dir(&store, "web")).expect("removed");
    assert!(store.ok(["ls"]).contains("missing"));
    refuses(&store, 5, ["start", "web"], "cannot start web");
    store.ok(["rm", "web"]);
    assert_eq!(store.ok(["ls", "-q"]), "");
}

#[test]
fn an_inventory_that_leads_out_of_the_store_removes_nothing_there() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    let victim = store.folder().join("victim");
    fs::create_dir(&victim).expect("made");
    fs::write(victim.join("delta"), "precious").expect("written");
    let database = rusqlite::Connection::open(store.folder().join("root/inventory.db"));
    let poison = format!("UPDATE vm SET id = '{}'", text(&victim));
    database.and_then(|db| db.execute_batch(&poison)).expect("written");
    for command in [&["rm", "web"][..], &["rm", "-f", "web"], &["reset", "web"], &["start", "web"]]
    {
        let said = fails(5, store.command(command));
        assert!(said.contains("is no VM's id") && said.contains("try: offshoot doctor --fix"));
        assert_eq!(said.lines().count(), 2, "nothing else is wrong: {said}");
    }
    refuses(&store, 5, ["rm", "--cascade", "-f", "tiny"], "is no VM's id");
    assert!(victim.join("delta").is_file());
    store.ok(["doctor", "--fix"]);
    store.ok(["rm", "web"]);
    assert_tidy(&store);
}

#[test]
fn an_inventory_of_a_newer_version_is_refused() {
    let store = tiny();
    let database = store.folder().join("root/inventory.db");
    let _ = fs::remove_file(store.folder().join("root/inventory.db-wal"));
    // user_version, big-endian, at byte 60: sqlite.org/fileformat2.html.
    overwrite(&database, 60, &99_u32.to_be_bytes());
    refuses(&store, 1, ["ls"], "inventory.db is of version 99; this program knows ");
    overwrite(&database, 0, b"no database here");
    refuses(&store, 5, ["ls"], "cannot open the store");
}
