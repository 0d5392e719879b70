//! Images: import, list, verify, remove, and everything that can be wrong with what is imported.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::common::store::{Store, ends};
use crate::support::{
    BASE_BYTES, Tmpfs, assert_tidy, base_file, fails, json, refuses, root, text, tiny,
};

#[test]
fn an_imported_image_is_listed_inspected_and_verified() {
    let store = tiny();
    let images = json(&store, ["image", "ls"]);
    assert_eq!(images[0]["name"], "tiny");
    assert_eq!(images[0]["size"], BASE_BYTES);
    assert_eq!(images[0]["clones"], 0);
    let record = json(&store, ["image", "inspect", "tiny"]);
    assert_eq!(record[0]["base"]["size"], BASE_BYTES);
    assert!(record[0]["kernel"].is_string());
    assert!(store.ok(["image", "verify", "tiny"]).starts_with("tiny: unchanged"));
    assert_eq!(store.ok(["image", "ls", "-q"]), "tiny\n");
    assert_tidy(&store);
}

#[test]
fn a_stored_base_is_read_only_and_the_file_itself_is_left_alone() {
    let store = Store::new();
    let file = base_file(&store);
    let before = fs::read(&file).expect("the file");
    store.ok(["image", "import", text(&file), "--name", "a"]);
    assert_eq!(fs::read(&file).expect("the file"), before);
    let images = fs::read_dir(store.folder().join("root/images")).expect("images/");
    let dir = images.into_iter().next().expect("one").expect("readable").path();
    let mode = dir.join("base").metadata().expect("a base").permissions().mode();
    assert_eq!(mode & 0o777, 0o444);
    assert_eq!(fs::read(dir.join("base")).expect("the base"), before);
}

#[test]
fn a_base_that_changed_is_found_by_verify() {
    let store = tiny();
    let digest = json(&store, ["image", "ls"])[0]["digest"].as_str().expect("text").to_owned();
    let base = store.folder().join("root/images").join(digest).join("base");
    fs::set_permissions(&base, fs::Permissions::from_mode(0o644)).expect("permissions");
    let mut file = fs::File::options().write(true).open(&base).expect("a base");
    file.write_all(b"x").expect("written");
    let said = fails(5, store.command(["image", "verify", "tiny"]));
    assert!(said.contains("changed since it was imported: its digest was"), "{said}");
    assert!(said.contains("try: import it again, under another name"), "{said}");
}

#[test]
fn in_a_store_that_was_moved_an_image_is_used_again_once_it_is_verified() {
    let (one, other) = (tiny(), Store::new());
    one.ok(["clone", "tiny", "web"]);
    let root = |store: &Store| store.folder().join("root");
    let copied = Command::new("cp").arg("-a").args([root(&one), root(&other)]).status();
    assert!(copied.expect("coreutils are there").success());
    let said = fails(5, other.command(["clone", "--full", "tiny"]));
    assert!(said.contains("changed since it was imported: its inode number"), "{said}");
    assert!(said.contains("try: verify the image: when its content is still right"), "{said}");
    ends(5, other.command(["check", "web"]));
    other.ok(["image", "verify", "tiny"]);
    other.ok(["check", "web", "tiny"]);
    other.ok(["clone", "--full", "tiny"]);
    one.ok(["check", "web", "tiny"]);
    assert_tidy(&other);
}

#[test]
fn an_image_can_go_when_no_clone_stands_on_it() {
    let store = tiny();
    store.ok(["clone", "tiny", "web", "-n", "2"]);
    let error = "cannot remove image tiny: these VMs stand on it: web-1, web-2";
    refuses(&store, 4, ["image", "rm", "tiny"], error);
    store.ok(["rm", "web-1", "web-2"]);
    store.ok(["image", "rm", "tiny", "tiny"]);
    refuses(&store, 3, ["image", "rm", "tiny"], "there is no image tiny");
    let left = fs::read_dir(store.folder().join("root/images")).expect("images/").count();
    assert_eq!(left, 0);
    assert_tidy(&store);
}

#[test]
fn a_taken_name_is_refused_before_anything_is_copied() {
    let store = tiny();
    let file = base_file(&store);
    let import = ["image", "import", text(&file), "--name", "tiny"];
    refuses(&store, 4, import, "the name tiny is taken by an image");
    store.ok(["clone", "tiny", "web"]);
    let import = ["image", "import", text(&file), "--name", "web"];
    refuses(&store, 4, import, "the name web is taken by a VM");
    assert_tidy(&store);
}

#[test]
fn the_same_image_twice_is_pointed_to() {
    let store = Store::new();
    let file = base_file(&store);
    store.ok(["image", "import", text(&file), "--name", "a"]);
    let import = ["image", "import", text(&file), "--name", "b"];
    refuses(&store, 4, import, "the same image is here as a");
    store.ok(["image", "import", text(&file), "--name", "b", "--cmdline", "other"]);
    assert_tidy(&store);
}

#[test]
fn what_is_no_file_is_refused_by_name() {
    let store = Store::new();
    let missing = store.folder().join("missing");
    let import = ["image", "import", text(&missing), "--name", "a"];
    refuses(&store, 3, import, text(&missing));
    let import = ["image", "import", text(store.folder()), "--name", "a"];
    refuses(&store, 1, import, text(store.folder()));
    refuses(&store, 1, ["image", "import", "/dev/null", "--name", "a"], "/dev/null");
    assert_eq!(store.ok(["image", "ls", "-q"]), "");
    assert_tidy(&store);
}

#[test]
fn an_unreadable_file_is_refused_by_name() {
    let store = Store::new();
    let file = base_file(&store);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).expect("permissions");
    let mut import = store.command(["image", "import", text(&file), "--name", "a"]);
    if rustix::process::geteuid().is_root() {
        // root reads everything, so somebody else must try.
        let all = fs::Permissions::from_mode(0o777);
        fs::set_permissions(store.folder(), all).expect("permissions");
        import.uid(65534).gid(65534);
    }
    let error = fails(1, import);
    assert!(error.contains(text(&file)) && error.contains("Permission denied"), "{error}");
}

#[test]
fn a_file_of_another_format_is_raw_only_when_that_is_said() {
    let store = Store::new();
    let file = store.folder().join("disk.qcow2");
    let mut bytes = b"QFI\xfb\0\0\0\x03".to_vec();
    bytes.resize(8192, 0);
    fs::write(&file, bytes).expect("written");
    let import = ["image", "import", text(&file), "--name", "a"];
    refuses(&store, 5, import, "not a sound qcow2 image");
    store.ok(["image", "import", text(&file), "--name", "a", "--format", "raw"]);
    refuses(&store, 2, ["ls", "--format", "raw"], "--format raw is for image import");
    fs::write(&file, b"vhdxfile").expect("written");
    let import = ["image", "import", text(&file), "--name", "b"];
    refuses(&store, 1, import, "qemu-img convert");
}

#[test]
fn a_bad_kernel_leaves_no_image_behind() {
    let store = Store::new();
    let base = base_file(&store);
    let kernel = store.folder().join("kernel");
    let cut = &guest::KERNEL[..guest::KERNEL.len().min(40)];
    for (bytes, error) in [(&b""[..], "empty"), (&[7; 4096][..], "not a kernel"), (cut, "kernel")] {
        fs::write(&kernel, bytes).expect("written");
        let kernel = text(&kernel);
        let import = ["image", "import", text(&base), "--name", "a", "--kernel", kernel];
        refuses(&store, 1, import, kernel);
        refuses(&store, 1, import, error);
    }
    let import = ["image", "import", text(&base), "--name", "a", "--kernel", "/missing"];
    let said = fails(3, store.command(import));
    assert!(said.contains("/missing"), "{said}");
    assert_eq!(store.ok(["image", "ls", "-q"]), "");
    assert_tidy(&store);
}

#[test]
fn a_full_disk_leaves_no_half_image() {
    let store = Store::new();
    if !root("a full disk") {
        return;
    }
    let file = store.folder().join("large.raw");
    fs::write(&file, vec![1; 8 << 20]).expect("written");
    let root = store.folder().join("root");
    let Some(_tmpfs) = Tmpfs::mount(&root, "4m") else { return };
    let import = ["image", "import", text(&file), "--name", "a"];
    refuses(&store, 6, import, "No space left on device");
    assert_eq!(store.ok(["image", "ls", "-q"]), "");
    assert_tidy(&store);
    let small = base_file(&store);
    store.ok(["image", "import", text(&small), "--name", "a"]);
}
