//! Images of other programs, in and out; `qemu-img` makes them and judges them.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::kvm;
use crate::common::store::{Store, finish};
use crate::support::{
    BASE_BYTES, Tmpfs, assert_tidy, base_file, dir, json, obeys, refuses, root, text, tiny,
};

#[track_caller]
fn qemu_img(store: &Store, args: &[&str]) -> String {
    let output = Command::new("qemu-img").args(args).current_dir(store.folder()).output();
    let output = output.expect("qemu-img is here (Debian: qemu-utils)");
    assert!(output.status.success(), "qemu-img {args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// base.raw <- mid.qcow2 <- top.qcow2, which is longer and has data of its own.
fn chain(store: &Store) -> [PathBuf; 3] {
    base_file(store);
    for command in [
        "create -q -f qcow2 -b base.raw -F raw -o compat=0.10 mid.qcow2",
        "create -q -f qcow2 -b mid.qcow2 -F qcow2 -o cluster_size=4k top.qcow2 8M",
    ] {
        qemu_img(store, &command.split(' ').collect::<Vec<_>>());
    }
    let mut write = Command::new("qemu-io");
    write.args(["-f", "qcow2", "-c", "write -P 7 5M 9k", "top.qcow2"]);
    let output = write.current_dir(store.folder()).output().expect("qemu-io is here");
    assert!(output.status.success(), "{output:?}");
    ["top.qcow2", "mid.qcow2", "base.raw"].map(|name| store.folder().join(name))
}

fn import_chain(store: &Store) {
    let [top, mid, base] = chain(store);
    let base = format!("{}:raw", text(&base));
    let import = ["image", "import", text(&top), "--name", "a", "--backing", text(&mid)];
    store.ok(import.into_iter().chain(["--backing", &base]));
}

/// Exports with these arguments, and has `qemu-img` find what `with` has.
#[track_caller]
fn exports(store: &Store, args: &[&str], format: &str, with: &str) -> PathBuf {
    let out = store.folder().join(format!("out.{format}"));
    let file = ["-o", text(&out), "--format", format, "--force"];
    store.ok(args.iter().copied().chain(file));
    if format == "qcow2" {
        qemu_img(store, &["check", "-q", "-f", "qcow2", text(&out)]);
    }
    qemu_img(store, &["compare", "-f", format, text(&out), with]);
    out
}

#[test]
fn a_chain_that_is_named_in_full_is_imported_and_comes_out_the_same() {
    let store = Store::new();
    import_chain(&store);
    for format in ["raw", "qcow2"] {
        let out = exports(&store, &["image", "export", "a"], format, "top.qcow2");
        assert!(out.metadata().expect("it is there").blocks() * 512 < 2 << 20, "sparse");
    }
    let map = qemu_img(&store, &["map", "-f", "qcow2", "--output=json", "out.qcow2"]);
    let map: serde_json::Value = serde_json::from_str(&map).expect("JSON");
    let last = map.as_array().and_then(|map| map.last()).expect("a disk");
    assert_eq!((&last["data"], &last["zero"]), (&false.into(), &true.into()), "{map}");
    assert_tidy(&store);
}

#[test]
fn a_chain_that_is_not_named_in_full_is_refused() {
    let store = Store::new();
    let [top, mid, base] = chain(&store);
    let import = ["image", "import", text(&top), "--name", "a"];
    refuses(&store, 1, import, "--backing FILE");
    let import = ["image", "import", text(&base), "--name", "a", "--backing", text(&mid)];
    refuses(&store, 1, import, "has no backing file");
    let fifo = store.folder().join("fifo");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, 0o600.into(), 0).expect("a FIFO");
    let import = ["image", "import", text(&top), "--name", "a", "--backing", text(&fifo)];
    refuses(&store, 1, import, "is not a regular file");
    refuses(&store, 1, ["image", "import", text(&fifo), "--name", "a"], "is not a regular file");
    refuses(&store, 3, ["image", "import", "nbd:localhost:1", "--name", "a"], "No such file");
    assert_tidy(&store);
}

#[test]
fn vmdk_is_imported() {
    let store = Store::new();
    base_file(&store);
    for kind in ["monolithicSparse", "streamOptimized"] {
        let file = format!("{kind}.vmdk");
        let option = format!("subformat={kind}");
        qemu_img(&store, &["convert", "-f", "raw", "-O", "vmdk", "-o", &option, "base.raw", &file]);
        let path = store.folder().join(&file);
        store.ok(["image", "import", text(&path), "--name", "a", "--format", "vmdk"]);
        exports(&store, &["image", "export", "a"], "raw", "base.raw");
        let export = ["image", "export", "a", "-o", "x", "--format", "vmdk"];
        refuses(&store, 2, export, "raw and qcow2");
        store.ok(["image", "rm", "a"]);
    }
}

#[test]
fn an_image_of_any_length_comes_out_as_it_went_in() {
    let store = Store::new();
    let (file, out) = (store.folder().join("odd"), store.folder().join("out"));
    fs::write(&file, vec![5; 100_001]).expect("written");
    store.ok(["image", "import", text(&file), "--name", "a"]);
    store.ok(["image", "export", "a", "-o", text(&out)]);
    assert_eq!(fs::read(&out).expect("readable"), fs::read(&file).expect("readable"));
}

#[test]
fn a_file_is_replaced_only_with_force() {
    let store = tiny();
    let out = store.folder().join("out");
    fs::write(&out, "precious").expect("written");
    refuses(&store, 4, ["image", "export", "tiny", "-o", text(&out)], "--force replaces it");
    assert_eq!(fs::read(&out).expect("readable"), b"precious");
    let report = json(&store, ["image", "export", "tiny", "-o", text(&out), "--force"]);
    assert_eq!(report["size"], BASE_BYTES);
    assert_eq!(report["format"], "raw");
    let folder = text(store.folder());
    refuses(&store, 1, ["image", "export", "tiny", "-o", folder, "--force"], "not a regular file");
    store.ok(["clone", "tiny", "web"]);
    let pipe = "a whole disk is not written to standard output";
    refuses(&store, 2, ["image", "export", "tiny", "-o", "-"], pipe);
    refuses(&store, 2, ["export", "web", "--flat", "-o", "-"], pipe);
    refuses(&store, 3, ["image", "export", "nobody", "-o", "x"], "there is no image nobody");
    refuses(&store, 3, ["image", "export", "tiny", "-o", "/nowhere/x"], "/nowhere/x");
}

#[test]
fn a_vm_is_exported_flat_raw_and_qcow2_packed_or_not() {
    if !kvm("export --flat of what a guest wrote") {
        return;
    }
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--memory=64M"]);
    obeys(&store, "web", "write:1:range=0+64k,flush");
    store.ok(["snapshot", "create", "web"]);
    obeys(&store, "web", "write:2:range=64k+64k,flush");
    exports(&store, &["export", "web", "--flat"], "raw", "out.raw");
    exports(&store, &["export", "web", "--flat"], "qcow2", "out.raw");
    let out = store.folder().join("new");
    let packed_raw = ["export", "web", "--flat", "-o", text(&out), "--compress"];
    refuses(&store, 2, packed_raw, "--format qcow2 --compress");
    store.ok(packed_raw.into_iter().chain(["--format", "qcow2"]));
    qemu_img(&store, &["check", "-f", "qcow2", "new"]);
    qemu_img(&store, &["compare", "-f", "qcow2", "-F", "raw", "new", "out.raw"]);
    for more in ["--force", "--compress"] {
        refuses(&store, 2, ["export", "web", "-o", text(&out), more], "--flat");
    }
    // At the end: what is started while this process has the delta open has its lock for a moment.
    let expected = crate::common::disk::flat(&store, "web");
    qemu_img(&store, &["compare", "-f", "raw", "-F", "raw", "out.raw", text(&expected)]);
}

#[test]
fn a_file_of_the_store_is_not_replaced() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    let image = left(&store.folder().join("root/images")).remove(0).join("base");
    let record = dir(&store, "web").join("vm.toml");
    for file in [&image, &record] {
        let before = fs::read(file).expect("readable");
        let flat = ["export", "web", "--flat", "--force", "-o", text(file)];
        refuses(&store, 4, flat, "is part of the store");
        let export = ["image", "export", "tiny", "--force", "-o", text(file)];
        refuses(&store, 4, export, "is part of the store");
        assert!(fs::read(file).expect("readable") == before);
    }
}

#[test]
fn a_full_disk_leaves_no_half_export() {
    let store = tiny();
    if !root("a full disk") {
        return;
    }
    let small = store.folder().join("small");
    let Some(_tmpfs) = Tmpfs::mount(&small, "512k") else { return };
    for format in ["raw", "qcow2"] {
        let out = small.join("out");
        let export = ["image", "export", "tiny", "--format", format, "-o", text(&out)];
        refuses(&store, 6, export, "No space left on device");
        assert_eq!(left(&small), Vec::<PathBuf>::new());
    }
}

fn left(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("readable").path()).collect()
}

#[test]
fn ctrl_c_during_an_import_leaves_nothing() {
    let store = tiny();
    let file = store.folder().join("large");
    // Zeroes, but there is a digest to be made of them: more than a test has time for.
    File::create(&file).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    let mut import = store.command(["image", "import", text(&file), "--name", "large"]);
    let child = import.stderr(Stdio::piped()).spawn().expect("it starts");
    let tmp = store.folder().join("root/tmp");
    while !left(&tmp).iter().any(|draft| draft.join("base").exists()) {
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::INT).expect("it is ours");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert_tidy(&store);
    assert_eq!(finish(store.command(["image", "ls", "-q"])).stdout, b"tiny\n");
}
