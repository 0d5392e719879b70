//! `doctor --fix`: what it repairs, what it keeps, and that an inventory comes back from the files.

mod killed;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::kvm;
use crate::common::store::{Store, finish};
use crate::support::{assert_sound, dir, fails, json, obeys, refuses, text, tiny, written};

fn root(store: &Store) -> PathBuf {
    store.folder().join("root")
}

fn fix(store: &Store) -> String {
    let output = finish(store.command(["doctor", "--fix"]));
    String::from_utf8(output.stdout).expect("text")
}

/// Everything the inventory says, but for the bytes a file takes.
fn all(store: &Store) -> Vec<Value> {
    let mut all = vec![json(store, ["image", "ls"]), json(store, ["ls"]), json(store, ["tree"])];
    for name in store.ok(["ls", "-q"]).lines() {
        all.push(json(store, ["snapshot", "ls", name]));
    }
    all
}

fn remove_inventory(store: &Store) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(root(store).join(format!("inventory.db{suffix}")));
    }
}

/// A store with one of each: a snapshot with a clone, a flattened VM, notes, labels, a clone whose
/// parent is gone.
fn varied() -> Store {
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--memory=64M", "--notes=a note", "--label=a=b"]);
    store.ok(["snapshot", "create", "web", "s1", "--notes=first"]);
    store.ok(["clone", "web@s1", "child"]);
    store.ok(["clone", "child", "grandchild", "--cpus=2"]);
    store.ok(["clone", "tiny", "parent"]);
    store.ok(["snapshot", "create", "parent", "kept"]);
    store.ok(["clone", "parent@kept", "orphan"]);
    store.ok(["rm", "parent"]);
    store.ok(["clone", "tiny", "alone"]);
    store.ok(["flatten", "alone"]);
    store.ok(["protect", "web"]);
    store.ok(["note", "tiny", "a base"]);
    store
}

#[test]
fn a_missing_inventory_is_made_anew_and_says_all_it_said() {
    let store = varied();
    let before = all(&store);
    remove_inventory(&store);
    let said = fails(5, store.command(["ls"]));
    assert!(said.contains("inventory.db is missing") && said.contains("doctor --fix"), "{said}");
    let report = fix(&store);
    assert!(report.contains("fixed    inventory: made anew from the files"), "{report}");
    assert_eq!(all(&store), before);
    assert_sound(&store);
    refuses(&store, 4, ["rm", "web"], "it is protected");
    refuses(&store, 4, ["image", "rm", "tiny"], "stand on it");
}

#[test]
fn a_damaged_inventory_is_kept_beside_the_new_one() {
    let store = varied();
    let before = all(&store);
    let path = root(&store).join("inventory.db");
    fs::write(&path, [0x5a; 8192]).expect("written");
    refuses(&store, 5, ["ls"], "cannot open the store");
    let report = fix(&store);
    assert!(report.contains("the damaged one is "), "{report}");
    let names = fs::read_dir(root(&store))
        .expect("the store")
        .map(|entry| entry.expect("a file").file_name().into_string().expect("text"));
    let kept: Vec<_> = names.filter(|name| name.starts_with("inventory.db.damaged-")).collect();
    let damaged = kept.iter().find(|name| !name.ends_with("-wal") && !name.ends_with("-shm"));
    let damaged = root(&store).join(damaged.expect("it is kept"));
    assert_eq!(fs::read(damaged).expect("a file"), [0x5a; 8192]);
    assert_eq!(all(&store), before);
}

#[test]
fn an_inventory_with_a_row_that_makes_no_sense_is_made_anew_like_a_damaged_one() {
    let store = varied();
    let before = all(&store);
    for nonsense in ["UPDATE vm SET cpus = -1", "UPDATE snapshot SET origin = ''"] {
        let inventory = rusqlite::Connection::open(root(&store).join("inventory.db"));
        inventory.and_then(|inventory| inventory.execute(nonsense, [])).expect("written");
        let said = fails(5, store.command(["tree"]));
        assert!(said.contains("try: offshoot doctor --fix"), "{said}");
        let output = finish(store.command(["doctor"]));
        let report = String::from_utf8(output.stdout).expect("text");
        assert!(report.contains("bad      inventory: "), "{report}");
        let report = fix(&store);
        assert!(report.contains("fixed    inventory: made anew from the files"), "{report}");
        assert_eq!(all(&store), before);
    }
}

#[test]
fn disks_read_as_before_under_a_new_inventory() {
    if !kvm("disks under a new inventory") {
        return;
    }
    let store = written();
    remove_inventory(&store);
    fix(&store);
    obeys(&store, "web", "verify:1:range=0+64k,verify:2:range=64k+64k,verify-base:range=128k+");
    store.ok(["snapshot", "revert", "web", "s1", "--force"]);
    obeys(&store, "web", "verify:1:range=0+64k,verify-base:range=64k+");
}

#[test]
fn of_two_vms_with_one_name_the_newer_gets_a_number_and_it_is_said() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    store.ok(["clone", "tiny", "newer"]);
    let record = dir(&store, "newer").join("vm.toml");
    let text = fs::read_to_string(&record).expect("a record").replace("\"newer\"", "\"web\"");
    fs::write(&record, text).expect("written");
    remove_inventory(&store);
    let report = fix(&store);
    assert!(report.contains("; its name web is taken"), "{report}");
    assert_eq!(store.ok(["ls", "-q"]), "web\nweb-2\n");
    assert_eq!(dir(&store, "web-2"), record.parent().expect("a directory"));
    assert_eq!(store.inspect("web-2")["vm"]["name"], "web-2");
    assert_sound(&store);
}

#[test]
fn a_row_that_differs_from_the_record_says_what_the_record_says() {
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--memory=64M"]);
    let record = dir(&store, "web").join("vm.toml");
    let text = fs::read_to_string(&record).expect("a record");
    let text = text.replace("\"web\"", "\"other\"").replace("cpus = 1", "cpus = 3");
    fs::write(&record, text).expect("written");
    let report = String::from_utf8(finish(store.command(["doctor"])).stdout).expect("text");
    assert!(report.contains("says something else than its files"), "{report}");
    fix(&store);
    assert_eq!(store.ok(["ls", "-q"]), "other\n");
    assert_eq!(json(&store, ["ls"])[0]["cpus"], 3);
    assert_sound(&store);
}

#[test]
fn a_row_without_files_goes_unless_layers_of_it_are_left() {
    let store = written();
    store.ok(["clone", "tiny", "gone"]);
    fs::remove_dir_all(dir(&store, "gone")).expect("removed");
    let web = dir(&store, "web");
    fs::rename(&web, store.folder().join("web")).expect("moved");
    let report = fix(&store);
    assert!(report.contains("VM gone is in the inventory no more"), "{report}");
    assert_eq!(store.ok(["ls", "-q"]), "web\n");
    store.ok(["prune"]);
    fs::rename(store.folder().join("web"), &web).expect("moved");
    fix(&store);
    assert_sound(&store);
    assert_eq!(store.ok(["snapshot", "ls", "-q", "web"]), "s1\n");
}

#[test]
fn a_layer_nobody_knows_is_set_aside_and_not_deleted() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    store.ok(["snapshot", "create", "web", "s1"]);
    fs::remove_dir_all(dir(&store, "web")).expect("removed");
    remove_inventory(&store);
    let report = fix(&store);
    assert!(report.contains("and no VM stands on it; moved to "), "{report}");
    let lost: Vec<_> = fs::read_dir(root(&store).join("lost")).expect("lost/").collect();
    let found = lost[0].as_ref().expect("an entry").path();
    assert!(found.join("delta").exists() && found.join("layer.toml").exists());
    assert_sound(&store);
    assert!(store.ok(["doctor"]).contains("1 in "), "{}", store.ok(["doctor"]));
}

#[test]
fn layers_of_a_vm_whose_record_is_damaged_stay_where_they_are() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    store.ok(["snapshot", "create", "web", "s1"]);
    store.ok(["snapshot", "create", "web", "s2"]);
    let record = dir(&store, "web").join("vm.toml");
    let whole = fs::read(&record).expect("a record");
    fs::write(&record, "version = 1\nname = 7").expect("written");
    remove_inventory(&store);
    let report = fix(&store);
    assert!(report.contains("is of no use as it is"), "{report}");
    assert!(report.contains(text(record.parent().expect("a directory"))), "{report}");
    store.ok(["prune"]);
    assert!(!root(&store).join("lost").exists());
    fs::write(&record, whole).expect("restored");
    fix(&store);
    assert_eq!(store.ok(["snapshot", "ls", "-q", "web"]), "s1\ns2\n");
    assert_sound(&store);
}

#[test]
fn what_is_no_vm_is_named_and_left_alone() {
    let store = tiny();
    let stranger = root(&store).join("vms/stranger");
    fs::create_dir(&stranger).expect("made");
    fs::write(stranger.join("notes"), "mine").expect("written");
    let files = ["vms/a", "images/b", "layers/c"].map(|name| root(&store).join(name));
    files.iter().for_each(|file| fs::write(file, "mine").expect("written"));
    let output = finish(store.command(["doctor", "--fix"]));
    assert_eq!(output.status.code(), Some(5));
    let report = String::from_utf8(output.stdout).expect("text");
    assert!(report.contains(&format!("{} is of no use as it is", text(&stranger))), "{report}");
    for file in &files {
        assert!(report.contains(&format!("{} is of no use as it is", text(file))), "{report}");
        assert_eq!(fs::read(file).expect("it is there"), b"mine");
    }
    assert_eq!(fs::read(stranger.join("notes")).expect("it is there"), b"mine");
}

#[test]
fn a_store_that_is_well_is_not_touched() {
    let store = varied();
    let listing = |dir: &Path| {
        let entries = fs::read_dir(dir).expect("a directory").map(|entry| {
            let entry = entry.expect("an entry");
            (entry.path(), entry.metadata().expect("metadata").modified().expect("a time"))
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort();
        entries
    };
    let before = ["vms", "layers", "images"].map(|name| listing(&root(&store).join(name)));
    let report = fix(&store);
    assert!(!report.contains("fixed"), "{report}");
    let after = ["vms", "layers", "images"].map(|name| listing(&root(&store).join(name)));
    assert_eq!(after, before);
    for found in json(&store, ["doctor", "--fix"]).as_array().expect("a list") {
        assert_ne!(found["verdict"], "fixed", "{found}");
    }
}
