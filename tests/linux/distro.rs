//! An ordinary distribution's disk image: nothing is said of its kernel, and people log in. Clones
//! are machines of their own. What somebody does in one is kept in the ways there are: in a snapshot
//! of the running machine, in a file for another store, in a full clone, in a promoted one.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::disk;
use crate::common::host::{self, Guest};
use crate::common::store::{Store, both, finish, succeeds};
use crate::user::User;

/// The image. resources/linux/debian-image says what is on it.
const DEBIAN: &str = "debian-12";
/// Where its root filesystem begins, bytes.
const ROOT_AT: u64 = 2 << 20;

/// Writes files, each with its sum, and says so when they are synced, until Enter is pressed. The
/// quotes keep the echo of what is typed from being an answer, here and below.
const WRITE: &str = "n=0; until read -rt 0.01; do n=$((n+1)); head -c 100000 /dev/urandom > file$n; \
    sha256sum file$n > sum$n; sync file$n sum$n; echo syn''ced $n; done; echo writ''ten";
/// Checks the files that were synced before there was a snapshot.
const CHECK: &str = "sha256sum -c --status sum1 sum2 sum3 sum4 && echo all who''le";

pub fn debian_clones_are_machines_of_their_own_and_work_in_one_outlives_it(store: &Store) {
    let mut import = store.command(["image", "import", "--name", DEBIAN]);
    import.arg(host::debian_image());
    succeeds(import);
    let [mut author, mut other] = seats(store);
    author.log_in();
    other.log_in();
    assert_ne!(author.is_itself(), other.is_itself(), "their SSH host keys are the same");
    other.runs("echo root on $(findmnt -no SOURCE,FSTYPE /)", "root on /dev/vda1 ext4");
    take_a_snapshot_while_it_writes(store, &mut author);
    other.runs("touch own; echo other has $(ls)", "other has own\r");
    author.runs("ls own || echo author has it n''ot", "author has it not");
    author.powers_off();
    other.powers_off();

    let work = export_the_snapshot(store);
    let there = colleague(store);
    refuses_another_image(store, &there, &work);
    boots_on_the_same_image(&there, &work);
    boots_without_parent_and_image(&there);
}

/// Two clones that are told who they are, started.
fn seats(store: &Store) -> [User<'_>; 2] {
    let spec = store.folder().join("seat.toml");
    fs::write(&spec, "delivery = \"cmdline\"\nhostname = \"seat-{n:02}\"").expect("written");
    let mut clone = store.command(["clone", DEBIAN, "seat", "-n2", "--memory=384M", "--spec"]);
    clone.arg(spec);
    succeeds(clone);
    [("seat-1", "seat-01"), ("seat-2", "seat-02")]
        .map(|(name, host)| User::start(store, name, host))
}

fn take_a_snapshot_while_it_writes(store: &Store, author: &mut User) {
    author.begins(WRITE, "synced 4");
    store.ok(["snapshot", "create", "seat-1", "midway"]);
    author.runs("", "written");
}

/// A sealed file of the snapshot, whose filesystem is sound.
fn export_the_snapshot(store: &Store) -> PathBuf {
    store.ok(["clone", "seat-1@midway", "draft"]);
    // As a power cut at that moment would have left it: the journal is replayed first.
    disk::assert_partition_clean_after_replay(store, "draft", ROOT_AT);
    let file = store.folder().join("draft.sealed");
    let mut export = store.command(["export", "draft", "-o"]);
    export.arg(&file);
    succeeds(export);
    file
}

/// Another store, which has imported the same image from a raw file, and another image.
fn colleague(store: &Store) -> Store {
    let there = Store::new();
    let raw = there.folder().join("debian.raw");
    let mut export = store.command(["image", "export", DEBIAN, "-o"]);
    export.arg(&raw);
    succeeds(export);
    for (name, file) in [("debian", &raw), ("other", &Guest::prepare().base)] {
        let mut import = there.command(["image", "import", "--name", name]);
        import.arg(file);
        succeeds(import);
    }
    there
}

fn refuses_another_image(store: &Store, there: &Store, work: &Path) {
    let mut attach = there.command(["attach", "--onto", "other"]);
    attach.arg(work);
    let output = finish(attach);
    let said = both(&output);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains(&base_digest(store, DEBIAN)), "{said}");
    assert!(said.contains(&base_digest(there, "other")), "{said}");
}

fn base_digest(store: &Store, image: &str) -> String {
    let text = store.ok(["image", "inspect", "--format", "json", image]);
    let record: serde_json::Value = serde_json::from_str(&text).expect("it prints JSON");
    record[0]["base"]["digest"].as_str().expect("text").to_owned()
}

fn boots_on_the_same_image(there: &Store, work: &Path) {
    let mut attach = there.command(["attach", "--name", "copy"]);
    attach.arg(work);
    succeeds(attach);
    let mut copy = User::start(there, "copy", "debian");
    copy.log_in();
    copy.runs(CHECK, "all whole");
    copy.runs("date > more; echo mo''re: $?", "more: 0");
    copy.powers_off();
}

/// A full clone lives on without its parent and its image, and then a promoted clone without that.
fn boots_without_parent_and_image(there: &Store) {
    there.ok(["clone", "--full", "copy", "whole"]);
    there.ok(["rm", "copy"]);
    there.ok(["image", "rm", "debian"]);
    there.ok(["clone", "whole", "alone"]);
    there.ok(["promote", "alone"]);
    there.ok(["rm", "whole"]);
    let mut alone = User::start_without_init(there, "alone");
    alone.runs(&format!("{CHECK}; [ -s more ] && echo and mo''re"), "and more");
    alone.cuts_the_power();
}
