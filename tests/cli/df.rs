//! `df`: every byte counted once, and for whom.

use serde_json::Value;

use crate::common::kvm;
use crate::common::store::Store;
use crate::support::{assert_tidy, json, obeys, refuses, tiny, written};

/// Keys and numbers of one line.
fn account(store: &Store, name: &str) -> [u64; 4] {
    numbers(&json(store, ["df", name])[0])
}

fn total(store: &Store) -> [u64; 4] {
    let lines = json(store, ["df"]);
    let lines = lines.as_array().expect("a list");
    numbers(lines.iter().find(|line| line["kind"] == "total").expect("a total"))
}

fn numbers(line: &Value) -> [u64; 4] {
    ["virtual_bytes", "shared_bytes", "private_bytes", "reclaimable_bytes"]
        .map(|key| line[key].as_u64().expect("a number"))
}

#[test]
fn a_clone_shares_its_image_and_owns_what_it_wrote() {
    if !kvm("df of a VM that wrote") {
        return;
    }
    let store = tiny();
    let [_, shared, private, reclaimable] = account(&store, "tiny");
    assert!(shared == 0 && private > 1 << 20 && reclaimable == private, "nobody stands on it yet");
    store.ok(["clone", "tiny", "web", "--memory=64M"]);
    let [_, shared, private, reclaimable] = account(&store, "tiny");
    assert!(shared > 1 << 20 && private == 0 && reclaimable == 0);
    let fresh = account(&store, "web");
    assert!(fresh[0] > 1 << 20 && fresh[1] == shared && fresh[2] < 64 << 10, "{fresh:?}");
    obeys(&store, "web", "write:1:range=0+512k,flush");
    let grown = account(&store, "web")[2] - fresh[2];
    assert!((512 << 10..640 << 10).contains(&grown), "{grown}");
}

#[test]
fn a_layer_is_private_until_a_second_vm_needs_it_and_nobodys_after_the_last() {
    if !kvm("df of layers") {
        return;
    }
    let store = written();
    let before = account(&store, "web");
    store.ok(["clone", "web@s1", "copy"]);
    let after = account(&store, "web");
    assert!(after[1] >= before[1] + (64 << 10), "s1 is shared now: {before:?}, {after:?}");
    assert!(after[2] + (64 << 10) <= before[2], "and not its own: {before:?}, {after:?}");
    assert_eq!(account(&store, "copy")[1], after[1]);
    let [_, shared, private, _] = total(&store);
    assert_eq!(shared, after[1], "what two share is counted once");
    assert_eq!(private, after[2] + account(&store, "copy")[2]);
    store.ok(["rm", "copy"]);
    assert_eq!(account(&store, "web")[1], before[1]);
    assert_tidy(&store);
}

#[test]
fn what_an_ephemeral_vm_left_can_be_freed() {
    if !kvm("df of an ephemeral VM") {
        return;
    }
    let store = tiny();
    store.ok(["clone", "tiny", "web", "--memory=64M", "--ephemeral"]);
    obeys(&store, "web", "write:1,flush");
    assert!(account(&store, "web")[3] > 512 << 10);
    store.ok(["reset", "web"]);
    assert_eq!(account(&store, "web")[3], 0);
    assert_eq!(total(&store)[3], 0);
}

#[test]
fn names_that_are_not_there_are_refused_and_the_rest_is_a_table() {
    let store = tiny();
    store.ok(["clone", "tiny", "-n", "2"]);
    refuses(&store, 3, ["df", "nosuch"], "there is no image or VM nosuch");
    assert_eq!(store.ok(["df", "-q"]), "tiny\ntiny-1\ntiny-2\n");
    let table = store.ok(["df"]);
    let header = table.lines().next().expect("a header");
    let columns: Vec<_> = header.split_whitespace().collect();
    assert_eq!(columns, ["NAME", "KIND", "VIRTUAL", "SHARED", "PRIVATE", "RECLAIMABLE"]);
    assert!(table.lines().last().expect("a total").trim_start().starts_with("total"), "{table}");
    assert_eq!(store.ok(["df", "tiny-1"]).lines().count(), 2);
}
