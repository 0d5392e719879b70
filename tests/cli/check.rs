//! `check`: what is damaged is named, and all that is sound is said to be.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::common::kvm;
use crate::common::store::{Store, ends};
use crate::support::{assert_tidy, dir, fails, json, tiny};

/// A store with `web`, which has a snapshot `one`, and `copy` on that.
fn family() -> Store {
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--memory=64M"]);
    store.ok(["snapshot", "create", "web", "one"]);
    store.ok(["clone", "web@one", "copy"]);
    store
}

/// The delta of the only frozen layer.
fn layer(store: &Store) -> PathBuf {
    let mut layers = fs::read_dir(store.folder().join("root/layers")).expect("layers/");
    layers.next().expect("one").expect("a layer").path().join("delta")
}

fn flip(path: &Path, at: u64) {
    let mode = path.metadata().expect("a file").permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("writable");
    let file = fs::File::options().read(true).write(true).open(path).expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[!byte[0]], at).expect("written");
    fs::set_permissions(path, mode).expect("as it was");
}

/// The names that `check` finds damaged; it must end with 5.
fn damaged(store: &Store) -> Vec<String> {
    let names = ends(5, store.command(["check", "-q"]));
    names.lines().map(str::to_owned).collect()
}

#[test]
fn what_is_sound_is_said_to_be_stopped_or_running() {
    if !kvm("check of a running VM") {
        return;
    }
    let store = family();
    store.ok(["start", "web", "--cmdline", "offshoot.do=stamp"]);
    assert_eq!(store.ok(["check"]), "tiny: sound\ncopy: sound\nweb: sound\n");
    assert_eq!(store.ok(["check", "--deep", "web"]), "web: sound\n");
    assert_eq!(store.ok(["check", "-q"]), "");
    store.ok(["stop", "--force", "web"]);
    store.ok(["clone", "--full", "web", "whole"]);
    store.ok(["check"]);
    assert_tidy(&store);
}

#[test]
fn a_damaged_layer_is_told_with_every_vm_on_it() {
    let store = family();
    flip(&layer(&store), 300);
    assert_eq!(damaged(&store), ["copy", "web"]);
    let views = ends(5, store.command(["check", "--format", "json", "copy"]));
    assert!(views.contains(layer(&store).to_str().expect("a path")), "{views}");
    assert_eq!(store.ok(["check", "tiny"]), "tiny: sound\n");
}

#[test]
fn a_damaged_bitmap_is_found_though_nobody_has_read_there() {
    let store = family();
    let delta = dir(&store, "copy").join("delta");
    // Where the format has the first sector of the bitmap.
    let file = fs::File::options().write(true).open(&delta).expect("a file");
    file.write_all_at(&[1; 512], 8192).expect("written");
    assert_eq!(damaged(&store), ["copy"]);
}

#[test]
fn a_short_delta_a_missing_layer_and_a_lost_record_are_found() {
    let store = family();
    let delta = dir(&store, "web").join("delta");
    fs::File::options().write(true).open(&delta).expect("a file").set_len(9000).expect("cut");
    assert_eq!(damaged(&store), ["web"]);
    fs::remove_file(layer(&store)).expect("removed");
    assert_eq!(damaged(&store), ["copy", "web"]);
    let image = json(&store, ["tree"])[0]["digest"].as_str().expect("a digest").to_owned();
    let image = store.folder().join("root/images").join(image);
    fs::remove_file(image.join("image.toml")).expect("removed");
    assert_eq!(damaged(&store), ["tiny", "copy", "web"]);
}

#[test]
fn a_changed_base_is_found_by_its_time_and_otherwise_by_its_content() {
    let store = family();
    let image = json(&store, ["tree"])[0]["digest"].as_str().expect("a digest").to_owned();
    let base = store.folder().join("root/images").join(image).join("base");
    let modified = base.metadata().expect("a base").modified().expect("a time");
    flip(&base, 5000);
    assert_eq!(damaged(&store), ["tiny", "copy", "web"]);
    // Somebody hides it.
    let file = fs::File::open(&base).expect("a file");
    file.set_modified(modified).expect("set back");
    store.ok(["check"]);
    let found = ends(5, store.command(["check", "--deep", "web"]));
    assert!(found.contains("changed since it was imported"), "{found}");
}

#[test]
fn what_is_not_there_is_not_damaged() {
    let store = family();
    let said = ends(3, store.command(["check", "nosuch", "web"]));
    assert!(said.contains("nosuch: there is no image or VM nosuch"), "{said}");
    assert!(said.contains("web: sound"), "{said}");
    assert!(fails(2, store.command(["check", "../x"])).contains("'/' is not"));
}
