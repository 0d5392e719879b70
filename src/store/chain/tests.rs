use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use blockdev::delta::create;
use tempfile::TempDir;

use super::*;
use crate::failure;

const SIZE: u64 = 1 << 20;

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(&dir.path().join("root")).expect("a store");
    (dir, store)
}

fn nothing() -> Parent {
    Parent {
        kind: ParentKind::Nothing,
        uuid: Uuid::nil(),
        epoch: 0,
        size: 0,
        visible: 0,
        digest: [0; 32],
    }
}

/// Makes a layer on `parent`, in the place its uuid names.
fn layer(store: &Store, parent: &Parent) -> Heading {
    let draft = store.paths.tmp().join("draft");
    let uuid = create(&draft, SIZE, parent).expect("a delta");
    let dir = store.paths.layer(uuid);
    fs::create_dir(&dir).expect("a directory");
    fs::rename(draft, dir.join("delta")).expect("moved");
    store.layer(uuid).expect("a layer").heading
}

/// A chain of so many layers, and what a delta on top of it says.
fn chain(store: &Store, layers: usize) -> (Vec<Uuid>, Heading) {
    let (mut uuids, mut below) = (Vec::new(), nothing());
    for _ in 0..layers {
        let heading = layer(store, &below);
        uuids.push(heading.uuid);
        below = heading.as_parent();
    }
    (uuids, layer(store, &below))
}

/// Writes other parents into both copies of a delta's header.
fn relink(path: &Path, parent: Uuid) {
    let file = File::options().read(true).write(true).open(path).expect("a delta");
    for at in [0, 4096] {
        let mut header = [0; 512];
        file.read_exact_at(&mut header, at).expect("read");
        header[96..112].copy_from_slice(parent.as_bytes());
        let crc = crc32c::crc32c(&header[..508]);
        header[508..].copy_from_slice(&crc.to_le_bytes());
        file.write_all_at(&header, at).expect("written");
    }
}

/// What finding the chain of `top` fails with.
fn refused(store: &Store, top: Heading) -> String {
    let error = store.chain_below(top).expect_err("it cannot be found");
    assert_eq!(failure::code(&error), Code::Integrity);
    failure::text(&error)
}

#[test]
fn a_chain_is_found_from_the_bottom_up() {
    let (_dir, store) = store();
    let (uuids, top) = chain(&store, 5);
    let found = store.chain_below(top).expect("a chain");
    assert_eq!(found.frozen.iter().map(|layer| layer.heading.uuid).collect::<Vec<_>>(), uuids);
    assert!(found.image.is_none());
    let owners = found.below().owners.expect("a place");
    assert!(owners.starts_with(store.paths.layer(uuids[4])));
}

#[test]
fn a_layer_that_stands_on_itself_is_refused() {
    let (_dir, store) = store();
    let (uuids, top) = chain(&store, 3);
    relink(&store.paths.layer(uuids[1]).join("delta"), uuids[2]);
    assert!(refused(&store, top).ends_with("stands on itself"));
}

#[test]
fn a_missing_or_exchanged_layer_is_named() {
    let (_dir, store) = store();
    let (uuids, top) = chain(&store, 3);
    let path = store.paths.layer(uuids[1]).join("delta");
    fs::copy(store.paths.layer(uuids[0]).join("delta"), &path).expect("copied");
    let said = refused(&store, top.clone());
    assert!(said.contains(&format!("is layer {}, not {}", uuids[0], uuids[1])), "{said}");
    fs::remove_file(&path).expect("removed");
    let said = refused(&store, top);
    assert!(said.contains(path.to_str().expect("text")), "{said}");
}

#[test]
fn an_image_that_is_not_there_is_named() {
    let (_dir, store) = store();
    let base = Parent { kind: ParentKind::Base, uuid: Uuid::from_u128(7), ..nothing() };
    let said = refused(&store, layer(&store, &base));
    assert!(said.contains("no image with the base 00000000-0000-0000-0000-000000000007"), "{said}");
}

#[test]
fn more_than_a_thousand_layers_are_refused() {
    let (_dir, store) = store();
    let (_, top) = chain(&store, DEEPEST);
    assert_eq!(store.chain_below(top.clone()).expect("a chain").frozen.len(), DEEPEST);
    let one_more = layer(&store, &top.as_parent());
    assert_eq!(refused(&store, one_more), "it stands on more than 1000 layers");
}
