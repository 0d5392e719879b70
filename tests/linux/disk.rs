//! What a clone's disk holds: the base, its own writes, nobody else's; and what of it lasts.

use crate::common::disk;
use crate::common::store::Store;
use crate::guest::{Machine, said};

/// Checks every file of the base, then changes some, and notes what it left.
const CHANGE: &str = "say $(nproc) vCPUs; enter; sha256sum -c -s SUMS; say base is right; \
    head -c 3000000 /dev/urandom > random; date >> motd; rm small/2*; \
    find . -type f | xargs sha256sum > /tmp/sums; mv /tmp/sums MINE; leave; say changed";
/// Everything is as `CHANGE` left it.
const CHECK: &str = "enter; [ ! -e small/2 ]; sha256sum -c -s MINE; leave; say still there";

pub fn clones_keep_their_writes_on_one_vcpu(store: &Store) {
    clones_keep_their_writes(store, 1, ["disk-1a", "disk-1b"]);
}

pub fn clones_keep_their_writes_on_two_vcpus(store: &Store) {
    clones_keep_their_writes(store, 2, ["disk-2a", "disk-2b"]);
}

fn clones_keep_their_writes(store: &Store, cpus: u16, names: [&str; 2]) {
    let mut clones = names.map(|name| Machine::clone(store, name, cpus));
    // One after the other: the second sees nothing of what the first changed.
    for clone in &mut clones {
        let said = clone.boot(CHANGE);
        assert_eq!(said, [&format!("{cpus} vCPUs"), "base is right", "changed"]);
    }
    // Both at once: each finds its own, other random bytes at the same places.
    for clone in &clones {
        clone.start(CHECK);
    }
    for clone in &mut clones {
        assert_eq!(said(&clone.ends(0)), ["still there"]);
    }
    for name in names {
        disk::assert_clean(store, name);
    }
    store.ok(["image", "verify", "debian"]);
}

/// Writes files, each with its sum, and says so when they are synced; never ends.
const WRITE: &str = "enter; n=0; while true; do n=$((n+1)); head -c 20000 /dev/urandom > file$n; \
    sha256sum file$n > sum$n; sync; say synced $n; done";
/// Counts the files that are whole.
const COUNT: &str = "enter; n=1; while [ -e sum$n ] && sha256sum -c -s sum$n; do n=$((n+1)); done; \
    leave; say whole $((n-1))";

pub fn synced_files_survive_a_killed_monitor(store: &Store) {
    let mut victim = Machine::clone(store, "victim", 2);
    victim.start(WRITE);
    victim.says("synced 10");
    let synced = said(&victim.kill()).len();
    disk::assert_clean_after_replay(store, "victim");

    let whole = victim.boot(COUNT).join("\n");
    let whole: usize = whole.strip_prefix("whole ").expect("it counts").parse().expect("a number");
    assert!(whole >= synced, "the guest was told that {synced} are safe; {whole} are there");
    disk::assert_clean(store, "victim");
}

/// As `WRITE` for 12 files, and then waits until the disk is larger than its base.
const WRITE_AND_SEE_IT_GROW: &str = "enter; size=$(cat /sys/block/vda/size); n=0; \
    while [ $n -lt 12 ]; do n=$((n+1)); head -c 20000 /dev/urandom > file$n; \
    sha256sum file$n > sum$n; sync; say synced $n; done; \
    until [ $(cat /sys/block/vda/size) = 131072 ]; do sleep 0.1; done; leave; say grown";

pub fn snapshot_of_a_writing_guest_comes_back_clean_and_a_grown_disk_is_seen(store: &Store) {
    let mut live = Machine::clone(store, "live", 1);
    live.start(WRITE_AND_SEE_IT_GROW);
    live.says("synced 4");
    store.ok(["snapshot", "create", "live", "midway"]);
    store.ok(["resize", "live", "64M"]);
    assert_eq!(said(&live.ends(0)).last().map(String::as_str), Some("grown"));
    disk::assert_clean(store, "live");

    // As a power cut at that moment would have left it.
    store.ok(["snapshot", "revert", "live", "midway", "--force"]);
    disk::assert_clean_after_replay(store, "live");
    let whole = live.boot(COUNT).join("\n");
    let whole: usize = whole.strip_prefix("whole ").expect("it counts").parse().expect("a number");
    assert!((4..=12).contains(&whole), "{whole} files are whole in a snapshot taken after 4");
}

pub fn trimmed_blocks_are_given_back(store: &Store) {
    let mut thin = Machine::clone(store, "thin", 1);
    thin.boot("enter; head -c 8000000 /dev/urandom > big; leave");
    let filled = disk::bytes_on_disk(store, "thin");
    assert!(filled > 8_000_000, "the delta takes {filled} bytes after 8 MB were written");

    thin.boot("enter; rm big; sync; fstrim /mnt; leave");
    let left = disk::bytes_on_disk(store, "thin");
    assert!(left < filled - 7_000_000, "{left} of {filled} bytes are left after trimming");
    disk::assert_clean(store, "thin");
}
