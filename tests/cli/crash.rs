//! Commands on layers killed between any two of their steps: each disk reads as it did, and the
//! same command finishes the work.

use std::fs;

use crate::common::kvm;
use crate::common::store::{Store, finish};
use crate::support::{assert_sound, kernel_file, obeys, text, written};

const VERIFY: &str = "verify:1:range=0+64k,verify:2:range=64k+64k,verify-base:range=128k+";

/// Kills the command at each of these points, on a store of its own each time.
fn dies_and_goes_on(command: &[&str], points: &[&str], also: fn(&Store)) {
    for point in points {
        let store = written();
        also(&store);
        let mut dies = store.command(command);
        dies.env("OFFSHOOT_TEST_DIE_AT", point);
        assert_eq!(finish(dies).status.code(), None, "{command:?} does not come by {point}");
        // A rebase is the one whose record may be behind: its start says so, see below.
        if *point != "rebased" {
            obeys(&store, "web", VERIFY);
        }
        // By then the snapshot has no name any more, and prune finishes the work.
        if (command[0], *point) != ("snapshot", "layer-removed") {
            store.ok(command);
        }
        obeys(&store, "web", VERIFY);
        let tmp = store.folder().join("root/tmp");
        for left in fs::read_dir(&tmp).expect("tmp/").map(|entry| entry.expect("a file").path()) {
            let removed =
                if left.is_dir() { fs::remove_dir_all(&left) } else { fs::remove_file(&left) };
            removed.expect("doctor says it can be removed");
        }
        store.ok(["prune"]);
        assert_sound(&store);
    }
}

#[test]
fn a_flatten_that_dies() {
    if kvm("flatten that dies") {
        dies_and_goes_on(&["flatten", "web"], &["reshaped", "reshape-indexed"], |_| ());
    }
}

#[test]
fn a_commit_that_dies() {
    if kvm("commit that dies") {
        let points = [
            "layer-published",
            "delta-made",
            "delta-replaced",
            "layer-indexed",
            "merging",
            "reshaped",
            "reshape-indexed",
            "layer-removed",
        ];
        dies_and_goes_on(&["commit", "web"], &points, |_| ());
    }
}

#[test]
fn a_rebase_that_dies() {
    if kvm("rebase that dies") {
        let command = ["rebase", "web", "--onto", "other"];
        dies_and_goes_on(&command, &["rebased", "reshaped"], |store| {
            let (kernel, other) = (kernel_file(store), store.folder().join("other.raw"));
            fs::write(&other, vec![7; 300_000]).expect("written");
            let kernel = ["--kernel", text(&kernel)];
            let import = ["image", "import", text(&other), "--name", "other"];
            store.ok(import.into_iter().chain(kernel));
        });
    }
}

#[test]
fn a_snapshot_rm_that_dies() {
    if kvm("snapshot rm that dies") {
        let command = ["snapshot", "rm", "web", "s1"];
        dies_and_goes_on(&command, &["lifted", "layer-removed"], |_| ());
        dies_and_goes_on(&command, &["layer-lifted", "lifted"], |store| {
            store.ok(["snapshot", "create", "web", "s2"]);
        });
    }
}

#[test]
fn a_revert_that_dies() {
    if kvm("revert that dies") {
        let command = ["snapshot", "revert", "web", "now"];
        let points = ["delta-made", "delta-replaced", "stands-elsewhere"];
        dies_and_goes_on(&command, &points, |store| {
            store.ok(["snapshot", "create", "web", "now"]);
        });
    }
}
