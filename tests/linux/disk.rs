//! What a clone's disk holds: the base, its own writes, nobody else's; and what of it lasts.

use crate::common::disk;
use crate::common::store::{Follower, Store};
use crate::guest::{Run, boot, clone, said};

/// Every file of the base is what it was.
const CHECK_BASE: &str = "enter; sha256sum -c -s SUMS; leave; say base is right";
/// Changes some files, and notes what it left.
const CHANGE: &str = "say $(nproc) vCPUs; enter; sha256sum -c -s SUMS; \
    head -c 3000000 /dev/urandom > random; date >> motd; rm small/2*; \
    find . -type f | xargs sha256sum > /tmp/sums; mv /tmp/sums MINE; leave; say changed";
/// Everything is as `CHANGE` left it.
const CHECK_CHANGES: &str = "enter; [ ! -e small/2 ]; sha256sum -c -s MINE; leave; say still there";

pub fn clones_keep_their_writes_on_one_vcpu(store: &Store) {
    clones_keep_their_writes(store, 1, ["disk-1a", "disk-1b"]);
}

pub fn clones_keep_their_writes_on_two_vcpus(store: &Store) {
    clones_keep_their_writes(store, 2, ["disk-2a", "disk-2b"]);
}

fn clones_keep_their_writes(store: &Store, cpus: u16, [one, two]: [&str; 2]) {
    clone(store, one, cpus);
    clone(store, two, cpus);

    let changed = [format!("{cpus} vCPUs"), "changed".into()];
    assert_eq!(boot(store, one, CHANGE), changed);
    assert_eq!(boot(store, two, CHECK_BASE), ["base is right"]);
    assert_eq!(boot(store, two, CHANGE), changed);
    // Both at once: each finds what it wrote itself, other random bytes at the same places.
    let both = [one, two].map(|name| Run::start(store, name, CHECK_CHANGES));
    for run in both {
        assert_eq!(said(&run.ends(0)), ["still there"]);
    }

    disk::assert_clean(store, one);
    disk::assert_clean(store, two);
    store.ok(["image", "verify", "debian"]);
}

/// Writes files, each with its sum, and says so when they are synced; never ends.
const WRITE: &str = "enter; n=0; while true; do n=$((n+1)); head -c 20000 /dev/urandom > file$n; \
    sha256sum file$n > sum$n; sync; say synced $n; done";
/// Counts the files that are whole.
const COUNT: &str = "enter; n=1; while [ -e sum$n ] && sha256sum -c -s sum$n; do n=$((n+1)); done; \
    leave; say whole $((n-1))";

pub fn synced_files_survive_a_killed_monitor(store: &Store) {
    clone(store, "killed", 2);
    let run = Run::start(store, "killed", WRITE);
    Follower::new(store, "killed").wait_for("guest: synced 10");
    let synced = said(&run.kill()).len();
    disk::assert_clean_after_replay(store, "killed");

    let whole = boot(store, "killed", COUNT).join("\n");
    let whole: usize = whole.strip_prefix("whole ").expect("it counts").parse().expect("a number");
    assert!(whole >= synced, "the guest was told that {synced} are safe; {whole} are there");
    disk::assert_clean(store, "killed");
}

pub fn trimmed_blocks_are_given_back(store: &Store) {
    clone(store, "trimmed", 1);
    boot(store, "trimmed", "enter; head -c 8000000 /dev/urandom > big; leave");
    let filled = disk::bytes_on_disk(store, "trimmed");
    assert!(filled > 8_000_000, "the delta takes {filled} bytes after 8 MB were written");

    boot(store, "trimmed", "enter; rm big; sync; fstrim /mnt; leave");
    let left = disk::bytes_on_disk(store, "trimmed");
    assert!(left < filled - 7_000_000, "{left} of {filled} bytes are left after trimming");
    disk::assert_clean(store, "trimmed");
}
