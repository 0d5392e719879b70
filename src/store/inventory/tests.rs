use std::collections::{BTreeMap, HashSet};

use blockdev::base::Identity;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::failure;
use crate::store::paths::RECORD_VERSION;
use crate::store::time::Timestamp;
use crate::store::{identity, image, layer, vm};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn inventory() -> (TempDir, Inventory) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("inventory.db");
    Inventory::create(&path, &dir.path().join("draft")).expect("created");
    let inventory = Inventory::open(&path).expect("opened");
    (dir, inventory)
}

fn image(text: &str) -> image::Record {
    image::Record {
        version: RECORD_VERSION,
        name: name(text),
        digest: digest(text),
        created: Timestamp::now(),
        kernel: None,
        initrd: None,
        cmdline: None,
        base: Identity {
            uuid: Uuid::new_v4(),
            size: 4096,
            digest: "0".repeat(64),
            mtime_ns: 0,
            inode: 1,
        },
        found: None,
        notes: String::new(),
        labels: BTreeMap::new(),
        protected: false,
    }
}

/// Another one for each name.
fn digest(name: &str) -> String {
    let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex:0>64}")
}

fn vm(text: &str, image: &image::Record) -> vm::Record {
    vm::Record {
        version: RECORD_VERSION,
        name: name(text),
        uuid: Uuid::new_v4(),
        image: Some(image.digest.clone()),
        disk_size: 4096,
        cpus: 1,
        memory_mib: 64,
        created: Timestamp::now(),
        notes: "a note".into(),
        boot: vm::Boot::default(),
        labels: BTreeMap::from([("key".into(), "value".into())]),
        protected: false,
        ephemeral: false,
        identity: None,
        custom: None,
    }
}

/// An inventory with the image `debian` and these VMs on it.
fn with_vms(names: &[&str]) -> (TempDir, Inventory, Vec<vm::Record>) {
    let (dir, mut inventory) = inventory();
    let image = image("debian");
    let vms: Vec<_> = names.iter().map(|name| vm(name, &image)).collect();
    let change = inventory.change().expect("a change");
    change.insert_image(&image).expect("an image");
    let parent = Some(image.base.uuid);
    let new = |record| NewVm { record, delta: Uuid::new_v4(), parent };
    change.insert_vms(vms.iter().map(new)).expect("VMs");
    change.commit().expect("committed");
    (dir, inventory, vms)
}

#[test]
fn what_was_inserted_is_listed_with_its_labels() {
    let (_dir, inventory, vms) = with_vms(&["b", "a"]);
    let rows = inventory.vms().expect("rows");
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(rows.iter().all(|row| row.image == Some(name("debian")) && row.notes == "a note"));
    assert!(rows.iter().all(|row| row.labels == BTreeMap::from([("key".into(), "value".into())])));
    assert_eq!(inventory.vm(&name("b")).expect("a row"), Some(vms[0].id()));
    assert_eq!(inventory.images().expect("rows")[0].clones, 2);
}

#[test]
fn a_change_that_is_dropped_never_happened() {
    let (_dir, mut inventory, _) = with_vms(&["a"]);
    let image = image("other");
    let change = inventory.change().expect("a change");
    change.insert_image(&image).expect("an image");
    drop(change);
    assert_eq!(inventory.image(&name("other")).expect("no row"), None);
}

#[test]
fn an_image_in_use_stays_and_its_clones_are_named() {
    let (_dir, mut inventory, vms) = with_vms(&["a", "b"]);
    let change = inventory.change().expect("a change");
    let error = change.delete_image(&name("debian")).expect_err("it is in use");
    assert_eq!(failure::code(&error), Code::InUse);
    assert_eq!(failure::text(&error), "these VMs stand on it: a, b");
    for vm in &vms {
        change.delete_vm(&vm.id()).expect("deleted");
    }
    change.delete_image(&name("debian")).expect("deleted");
    change.commit().expect("committed");
    assert!(inventory.images().expect("rows").is_empty());
}

#[test]
fn the_database_itself_refuses_to_orphan_a_layer() {
    let (_dir, inventory, _) = with_vms(&["a"]);
    for sql in ["DELETE FROM image", "DELETE FROM layer", "DELETE FROM layer WHERE parent IS NULL"]
    {
        let error = inventory.db.execute(sql, []).expect_err(sql);
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::ConstraintViolation));
    }
}

#[test]
fn images_and_vms_share_their_names() {
    let (_dir, inventory, _) = with_vms(&["a"]);
    for taken in ["a", "debian"] {
        let error = inventory.refuse_taken(&name(taken)).expect_err("it is taken");
        assert_eq!(failure::code(&error), Code::InUse);
    }
    inventory.refuse_taken(&name("b")).expect("it is free");
}

#[test]
fn numbers_go_on_after_the_largest_in_use() {
    let (_dir, mut inventory, _) = with_vms(&["debian-2", "debian-7", "debian-x", "debianx-9"]);
    let change = inventory.change().expect("a change");
    let names = change.next_names(&name("debian"), 2).expect("names");
    assert_eq!(names, [name("debian-8"), name("debian-9")]);
    assert_eq!(change.next_names(&name("x"), 1).expect("a name"), [name("x-1")]);
}

#[test]
fn numbers_pass_over_the_names_of_images() {
    let (_dir, mut inventory, _) = with_vms(&["debian-1"]);
    let change = inventory.change().expect("a change");
    change.insert_image(&image("debian-3")).expect("inserted");
    change.insert_image(&image("debian-12")).expect("inserted");
    let names = change.next_names(&name("debian"), 3).expect("names");
    assert_eq!(names, [name("debian-2"), name("debian-4"), name("debian-5")]);
}

#[test]
fn numbers_that_are_used_up_are_an_error() {
    let (_dir, mut inventory, _) = with_vms(&["debian-4294967294"]);
    let change = inventory.change().expect("a change");
    let last = change.next_names(&name("debian"), 1).expect("there is one more");
    assert_eq!(last, [name("debian-4294967295")]);
    assert!(change.next_names(&name("debian"), 2).is_err());
}

#[test]
fn an_inventory_is_made_once_however_many_try() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("inventory.db");
    Inventory::create(&path, &dir.path().join("first")).expect("created");
    let mut inventory = Inventory::open(&path).expect("opened");
    let change = inventory.change().expect("a change");
    change.insert_image(&image("debian")).expect("an image");
    change.commit().expect("committed");
    Inventory::create(&path, &dir.path().join("second")).expect("left alone");
    let again = Inventory::open(&path).expect("opened");
    assert!(again.image(&name("debian")).expect("a row").is_some());
}

#[test]
fn an_inventory_of_a_newer_version_is_refused() {
    let (dir, inventory) = inventory();
    let newer = i64::try_from(VERSION).expect("a small number") + 1;
    inventory.db.pragma_update(None, "user_version", newer).expect("set");
    let error = Inventory::open(&dir.path().join("inventory.db")).err().expect("refused");
    let expected = format!("is of version {newer}; this program knows {VERSION}");
    assert!(failure::text(&error).contains(&expected));
}

#[test]
fn an_address_that_another_vm_has_is_not_given_again() {
    let (_dir, mut inventory, vms) = with_vms(&["a"]);
    let change = inventory.change().expect("a change");
    let (taken, mut others) = (vms[0].identity(), HashSet::new());
    assert!(change.has_mac(taken.mac).expect("an answer"));
    for _ in 0..3 {
        // The same uuid would make the same address each time.
        let fresh = identity::Identity::unique(&change, &mut others, vms[0].uuid, &name("b"));
        assert_ne!(fresh.expect("an identity").mac, taken.mac);
    }
    assert_eq!(others.len(), 3);
}

#[test]
fn the_log_stays_short_when_every_command_opens_it_anew() {
    let (dir, mut inventory, _) = with_vms(&["a"]);
    let path = dir.path().join("inventory.db");
    for n in 0..200 {
        let change = inventory.change().expect("a change");
        change.insert_image(&image(&format!("image-{n}"))).expect("an image");
        change.commit().expect("committed");
        inventory = Inventory::open(&path).expect("opened");
    }
    let log = inventory.log.metadata().expect("a log").len();
    assert!(log <= 2 * LONG_LOG, "{log} bytes");
    assert_eq!(inventory.images().expect("rows").len(), 201);
}

/// The layers of VM `vm`: its delta stands on `frozen`, the last of which is on top.
fn freeze(inventory: &mut Inventory, vm: &vm::Record, frozen: &[&layer::Record]) {
    let id = vm.id();
    let mut parent = inventory.parent(&id).expect("a row");
    let top = inventory.top(&id).expect("a row");
    let change = inventory.change().expect("a change");
    for record in frozen {
        change.link(Link { uuid: record.uuid, parent, size: 4096 }).expect("a link");
        change.insert_snapshot(record).expect("a snapshot");
        parent = Some(record.uuid);
    }
    change.link(Link { uuid: top, parent, size: 4096 }).expect("a link");
    change.commit().expect("committed");
}

fn snapshot(vm: &vm::Record, text: &str) -> layer::Record {
    layer::Record {
        version: RECORD_VERSION,
        uuid: Uuid::new_v4(),
        name: Some(name(text)),
        vm: vm.id(),
        origin: vm.name.clone(),
        created: Timestamp::now(),
        notes: String::new(),
    }
}

#[test]
fn a_layer_with_others_on_it_cannot_be_forgotten() {
    let (_dir, mut inventory, vms) = with_vms(&["a"]);
    let (s1, s2) = (snapshot(&vms[0], "s1"), snapshot(&vms[0], "s2"));
    freeze(&mut inventory, &vms[0], &[&s1, &s2]);
    for layer in [&s1, &s2] {
        let change = inventory.change().expect("a change");
        change.forget(layer.uuid).expect_err("something stands on it");
    }
    let rows = inventory.layers().expect("rows");
    assert_eq!(rows.iter().map(|row| row.parent).next_back(), Some(Some(s1.uuid)));
}

#[test]
fn snapshots_outlive_their_vm_without_belonging_to_it() {
    let (_dir, mut inventory, vms) = with_vms(&["a"]);
    let s1 = snapshot(&vms[0], "s1");
    freeze(&mut inventory, &vms[0], &[&s1]);
    assert!(inventory.snapshot(&vms[0].id(), &name("s1")).expect("a row").is_some());
    let change = inventory.change().expect("a change");
    change.delete_vm(&vms[0].id()).expect("deleted");
    let error = change.delete_image(&name("debian")).expect_err("a layer stands on it");
    assert_eq!(failure::text(&error), "these layers stand on it: a@s1");
    change.commit().expect("committed");
    let rows = inventory.layers().expect("rows");
    assert_eq!((rows[0].vm.as_ref(), rows[0].origin.as_str()), (None, "a"));
}

#[test]
fn what_an_older_version_had_is_there_when_the_tables_are_made_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("inventory.db");
    let db = Connection::open(&path).expect("a database");
    STEPS[..3].iter().try_for_each(|step| db.execute_batch(step)).expect("version 3");
    db.execute_batch(
        "INSERT INTO layer VALUES (1, '00000000-0000-0000-0000-000000000001', NULL, 4096);
         INSERT INTO layer VALUES (2, '00000000-0000-0000-0000-000000000002', 1, 4096);
         INSERT INTO layer VALUES (3, '00000000-0000-0000-0000-000000000003', 2, 4096);
         INSERT INTO image VALUES (1, 'debian', 'digest', 1, 0, 'a note', TRUE);
         INSERT INTO vm VALUES ('0123456789abcdef', 'a', 1, 3, 1, 64, '', 0, TRUE);
         INSERT INTO label VALUES ('0123456789abcdef', 'key', 'value');
         INSERT INTO snapshot VALUES (2, '0123456789abcdef', 'a', 's1', '', 0);",
    )
    .expect("filled");
    drop(db);
    let mut inventory = Inventory::open(&path).expect("opened");
    let vms = inventory.vms().expect("rows");
    assert!(vms[0].protected && vms[0].labels.contains_key("key"));
    assert_eq!(inventory.layers().expect("rows")[0].vm.as_deref(), Some("0123456789abcdef"));
    let change = inventory.change().expect("a change");
    change.delete_image(&name("debian")).expect_err("it is in use");
    change.delete_vm("0123456789abcdef").expect("deleted");
    change.commit().expect("committed");
    assert_eq!(inventory.layers().expect("rows")[0].vm, None);
    assert!(inventory.labels().expect("rows").is_empty());
}

#[test]
fn an_inventory_of_the_first_version_is_brought_up_to_date_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("inventory.db");
    let db = Connection::open(&path).expect("a database");
    db.execute_batch(STEPS[0]).expect("version 1");
    db.execute_batch(
        "INSERT INTO layer VALUES (1, '00000000-0000-0000-0000-000000000001', NULL, 4096);
         INSERT INTO layer VALUES (2, '00000000-0000-0000-0000-000000000002', 1, 4096);
         INSERT INTO image VALUES (1, 'debian', 'digest', 1, 0);
         INSERT INTO vm VALUES ('0123456789abcdef', 'a', 1, 2, 1, 64, 'a note', 0);",
    )
    .expect("filled");
    drop(db);
    for _ in 0..2 {
        let inventory = Inventory::open(&path).expect("opened");
        assert_eq!(inventory.vms().expect("rows")[0].notes, "a note");
        assert_eq!(inventory.parent("0123456789abcdef").expect("a row"), Some(Uuid::from_u128(1)));
        assert!(inventory.layers().expect("rows").is_empty());
        assert_eq!(version(&inventory.db, &path).expect("a version"), VERSION);
    }
}

#[test]
fn a_row_that_leads_out_of_the_store_is_damage_wherever_it_is_read() {
    let (_dir, mut inventory) = inventory();
    let debian = image("debian");
    let web = vm("web", &debian);
    let change = inventory.change().expect("a change");
    change.insert_image(&debian).expect("inserted");
    let (record, parent) = (&web, Some(debian.base.uuid));
    change.insert_vms([NewVm { record, delta: Uuid::new_v4(), parent }]).expect("inserted");
    change.commit().expect("committed");
    let out = "UPDATE vm SET id = '/etc'; UPDATE image SET digest = '../../etc'";
    inventory.db.execute_batch(&format!("PRAGMA foreign_keys = OFF; {out}")).expect("changed");
    let is_damage = |error: anyhow::Error| failure::code(&error) == failure::Code::Integrity;
    assert!(inventory.vm(&name("web")).is_err_and(is_damage));
    assert!(inventory.find(&name("web")).is_err_and(is_damage));
    assert!(inventory.vms().is_err_and(is_damage));
    assert!(inventory.image(&name("debian")).is_err_and(is_damage));
    assert!(inventory.find(&name("debian")).is_err_and(is_damage));
    assert!(inventory.images().is_err_and(is_damage));
    assert!(inventory.image_on(debian.base.uuid).is_err_and(is_damage));
    assert!(inventory.check().expect("read").is_some());
}
