//! Full clones: copies that need nothing of what they were made of.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use crate::common::kvm;
use crate::common::store::{Store, finish};
use crate::support::{
    BASE_BYTES, assert_tidy, base_file, dir, json, obeys, refuses, text, tiny, tiny_in, written,
};

/// What a delta takes on the disk.
fn delta_bytes(store: &Store, name: &str) -> u64 {
    dir(store, name).join("delta").metadata().expect("a delta").blocks() * 512
}

#[test]
fn a_full_clone_survives_the_removal_of_its_image() {
    if !kvm("full clones") {
        return;
    }
    let store = tiny();
    assert_eq!(store.ok(["clone", "--full", "tiny", "whole", "--memory=64M"]), "whole\n");
    store.ok(["image", "rm", "tiny"]);
    obeys(&store, "whole", "verify-base,write:1:range=0+64k,flush");
    obeys(&store, "whole", "verify:1:range=0+64k,verify-base:range=64k+");
    let vm = store.inspect("whole");
    assert_eq!((&vm["vm"]["image"], &vm["lineage"]), (&Value::Null, &Value::Array(vec![])));
    assert_eq!(json(&store, ["ls"])[0]["image"], Value::Null);
    let tree = store.ok(["tree"]);
    assert!(tree.contains("(no image)") && tree.contains("└── whole"), "{tree}");
    refuses(&store, 2, ["reset", "whole"], "it stands on nothing");
    assert_tidy(&store);
}

#[test]
fn a_full_clone_is_cloned_snapshotted_and_listed_without_an_image() {
    if !kvm("clones of full clones") {
        return;
    }
    let store = tiny();
    store.ok(["clone", "--full", "tiny", "whole", "--memory=64M"]);
    store.ok(["image", "rm", "tiny"]);
    store.ok(["snapshot", "create", "whole", "clean"]);
    store.ok(["clone", "whole@clean", "linked"]);
    store.ok(["clone", "--full", "whole", "again"]);
    let tree = store.ok(["tree"]);
    assert!(["whole@clean", "linked", "again"].iter().all(|name| tree.contains(name)), "{tree}");
    // Its kernel goes with the clone, too.
    store.ok(["rm", "whole"]);
    for name in ["linked", "again"] {
        obeys(&store, name, "verify-base");
    }
    store.ok(["rm", "linked", "again"]);
    assert_tidy(&store);
}

#[test]
fn a_promoted_clone_survives_the_removal_of_its_image_while_it_runs() {
    if !kvm("promote") {
        return;
    }
    let store = written();
    store.ok(["start", "web", "--cmdline", "offshoot.do=idle"]);
    store.ok(["promote", "web"]);
    store.ok(["snapshot", "rm", "web", "s1"]);
    store.ok(["stop", "--force", "web"]);
    store.ok(["prune"]);
    store.ok(["image", "rm", "tiny"]);
    obeys(&store, "web", "verify:1:range=0+64k,verify:2:range=64k+64k,verify-base:range=128k+");
    store.ok(["promote", "web"]);
    assert_tidy(&store);
}

#[test]
fn a_full_clone_of_a_vm_has_all_it_wrote() {
    if !kvm("full clones of VMs") {
        return;
    }
    let store = written();
    let verify = "verify:1:range=0+64k,verify:2:range=64k+64k,verify-base:range=128k+";
    store.ok(["clone", "--full", "web", "all"]);
    store.ok(["clone", "--full", "web@s1", "first"]);
    store.ok(["start", "web", "--cmdline", "offshoot.do=idle"]);
    store.ok(["clone", "--full", "web", "live"]);
    store.ok(["rm", "-f", "web"]);
    store.ok(["image", "rm", "tiny"]);
    obeys(&store, "all", verify);
    obeys(&store, "live", verify);
    obeys(&store, "first", "verify:1:range=0+64k,verify-base:range=64k+");
    assert_eq!(fs::read_dir(store.folder().join("root/layers")).expect("layers/").count(), 0);
    assert_tidy(&store);
}

#[test]
fn a_full_clone_of_a_sparse_image_is_as_sparse() {
    let store = Store::new();
    let image = base_file(&store);
    let file = fs::File::options().write(true).open(&image).expect("a file");
    file.set_len(8 << 30).expect("longer");
    store.ok(["image", "import", text(&image), "--name", "large"]);
    store.ok(["clone", "--full", "large", "-n", "2"]);
    for name in ["large-1", "large-2"] {
        assert!(delta_bytes(&store, name) < 2 * BASE_BYTES, "{}", delta_bytes(&store, name));
        assert_eq!(store.inspect(name)["vm"]["disk_size"], 8_u64 << 30);
    }
    refuses(&store, 2, ["start", "large-1"], "it has no kernel");
    assert_tidy(&store);
}

#[test]
fn full_clones_that_cannot_be_made_leave_nothing() {
    let store = tiny();
    store.ok(["clone", "tiny", "web"]);
    refuses(&store, 4, ["clone", "--full", "tiny", "web"], "the name web is taken by a VM");
    refuses(&store, 3, ["clone", "--full", "nosuch"], "there is no image or VM nosuch");
    let small = ["clone", "--full", "tiny", "--disk-size", "4k"];
    refuses(&store, 2, small, "is smaller than its source's");
    assert_eq!(store.ok(["ls", "-q"]), "web\n");
    assert_tidy(&store);
}

#[test]
fn two_who_copy_one_image_at_once_get_different_names() {
    let store = tiny();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let command = store.command(["clone", "--full", "tiny", "-n", "2"]);
            scope.spawn(move || assert!(finish(command).status.success()));
        }
    });
    assert_eq!(store.ok(["ls", "-q"]).lines().count(), 6);
    assert_tidy(&store);
}

#[test]
fn a_kernel_that_several_have_is_counted_once_whoever_has_it() {
    let store = tiny();
    let kernel = fs::metadata(store.folder().join("kernel")).expect("a kernel").blocks() * 512;
    let [shared, private] = ["shared_bytes", "private_bytes"];
    let line = |name: &str, key: &str| json(&store, ["df", name])[0][key].as_u64().expect("bytes");
    let total = |key: &str| {
        let lines = json(&store, ["df"]);
        lines.as_array().and_then(|all| all.last()?[key].as_u64()).expect("bytes")
    };
    store.ok(["clone", "--full", "tiny", "one"]);
    let alone = line("one", private);
    assert_eq!(line("one", shared), kernel, "its image has it, too");
    assert_eq!((line("tiny", shared), total(shared)), (kernel, kernel));
    store.ok(["clone", "one", "two"]);
    store.ok(["promote", "two"]);
    store.ok(["image", "rm", "tiny"]);
    assert_eq!((line("one", shared), line("two", shared), total(shared)), (kernel, kernel, kernel));
    store.ok(["rm", "two"]);
    assert_eq!((line("one", shared), total(shared)), (0, 0));
    assert!(line("one", private) >= alone + kernel);
}

#[test]
fn a_full_clone_travels_without_its_kernel() {
    if !kvm("export of a full clone") {
        return;
    }
    let store = tiny();
    store.ok(["clone", "--full", "tiny", "whole", "--memory=64M"]);
    let file = store.folder().join("whole.sealed");
    store.ok(["export", "whole", "-o", text(&file)]);
    let other = Store::new();
    tiny_in(&other);
    let attach = ["attach", text(&file)];
    refuses(&other, 3, attach, "its disk stands alone, and the image whose kernel it boots");
    other.ok(["attach", text(&file), "--onto", "tiny", "--name", "theirs"]);
    obeys(&other, "theirs", "verify-base");
}

#[test]
fn a_full_clone_that_is_put_on_an_image_keeps_its_kernel() {
    if !kvm("rebase of a full clone") {
        return;
    }
    let store = tiny();
    store.ok(["clone", "--full", "tiny", "whole", "--memory=64M"]);
    store.ok(["rebase", "whole", "--onto", "tiny"]);
    assert_eq!(store.inspect("whole")["lineage"], Value::from(vec!["tiny"]));
    refuses(&store, 4, ["image", "rm", "tiny"], "these VMs stand on it: whole");
    obeys(&store, "whole", "verify-base");
    let spec = store.inspect("whole")["spec"]["boot"]["kernel"].clone();
    assert_eq!(spec.as_str().expect("a path"), text(&dir(&store, "whole").join("kernel")));
    assert_tidy(&store);
}

#[test]
fn a_full_clone_is_found_again_by_its_files_alone() {
    let store = tiny();
    store.ok(["clone", "--full", "tiny", "whole"]);
    store.ok(["snapshot", "create", "whole", "clean"]);
    store.ok(["image", "rm", "tiny"]);
    for name in ["inventory.db", "inventory.db-wal", "inventory.db-shm"] {
        let _ = fs::remove_file(store.folder().join("root").join(name));
    }
    store.ok(["doctor", "--fix"]);
    assert_eq!(store.ok(["ls", "-q"]), "whole\n");
    assert_eq!(store.inspect("whole")["lineage"], Value::from(vec!["whole@clean"]));
    assert_tidy(&store);
}
