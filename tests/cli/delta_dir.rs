//! Deltas on another filesystem than the store: in memory here, the store on a disk.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::kvm;
use crate::common::store::{Follower, Store, finish};
use crate::support::{
    Tmpfs, assert_tidy, dir, fails, json, obeys, refuses, root, state, text, tiny,
};

const VERIFY: &str = "verify:1:range=0+64k,verify:2:range=64k+64k,verify-base:range=128k+";

/// Another filesystem, and a store whose deltas are on it.
struct Bench {
    store: Store,
    disk: TempDir,
}

impl Bench {
    /// With the image `tiny`.
    fn new() -> Bench {
        let store = tiny();
        let disk = TempDir::with_prefix_in("offshoot-", "/dev/shm").expect("a directory");
        let device = |path: &Path| path.metadata().expect("a directory").dev();
        if device(store.folder()) == device(disk.path()) {
            eprintln!("NOT TESTED: two filesystems: temporary files are in /dev/shm, too");
        }
        Bench { store, disk }
    }

    /// And with a VM `web` that wrote 1 to its first 64 KiB, made a snapshot `s1`, and wrote 2 to
    /// the next.
    fn written() -> Bench {
        let bench = Bench::new();
        bench.clone_there("tiny", "web");
        obeys(&bench.store, "web", "write:1:range=0+64k,flush");
        bench.store.ok(["snapshot", "create", "web"]);
        obeys(&bench.store, "web", "write:2:range=64k+64k,flush");
        bench
    }

    fn clone_there(&self, source: &str, name: &str) {
        let words = ["clone", source, name, "--memory=64M", "--delta-dir"];
        self.store.ok(words.into_iter().chain([text(self.disk.path())]));
    }

    /// All files on the other filesystem.
    fn files(&self) -> BTreeSet<PathBuf> {
        files(self.disk.path())
    }

    #[track_caller]
    fn assert_accounted(&self) {
        assert_accounted(&self.store, self.disk.path());
    }

    /// Has the other filesystem look as if it were not mounted while `act` is done.
    fn unmounted(&self, act: impl FnOnce()) {
        let aside = TempDir::with_prefix_in("aside-", "/dev/shm").expect("a directory");
        let moved = |from: &Path, to: &Path| {
            for home in entries(from) {
                fs::rename(&home, to.join(home.file_name().expect("a name"))).expect("moved");
            }
        };
        moved(self.disk.path(), aside.path());
        act();
        assert!(entries(self.disk.path()).is_empty(), "nothing was made in its place");
        moved(aside.path(), self.disk.path());
    }
}

/// Each file in this delta directory is some VM's or layer's, and each of their deltas is there.
#[track_caller]
pub fn assert_accounted(store: &Store, disk: &Path) {
    let root = store.folder().join("root");
    let owners = ["vms", "layers", "lost"].map(|dir| root.join(dir));
    let owners = owners.iter().filter(|dir| dir.exists()).flat_map(|dir| entries(dir));
    let linked = owners.filter_map(|owner| fs::read_link(owner.join("delta")).ok());
    assert_eq!(files(disk), linked.collect());
}

fn files(disk: &Path) -> BTreeSet<PathBuf> {
    entries(disk).iter().flat_map(|home| entries(home)).collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// What `doctor --fix` says.
fn fix(store: &Store) -> String {
    let output = finish(store.command(["doctor", "--fix"]));
    String::from_utf8(output.stdout).expect("text")
}

fn delta_file(store: &Store, name: &str) -> Option<PathBuf> {
    store.inspect(name)["delta_file"].as_str().map(PathBuf::from)
}

#[test]
fn a_clones_delta_is_where_it_is_said_and_all_else_in_the_store() {
    let Bench { store, disk } = &Bench::new();
    let said = ["clone", "tiny", "web", "-n", "2", "--delta-dir", text(disk.path())];
    store.ok(said);
    let file = delta_file(store, "web-1").expect("it is elsewhere");
    assert!(file.starts_with(disk.path()) && file.is_file(), "{}", file.display());
    assert!(dir(store, "web-1").join("vm.toml").is_file());
    store.ok(["snapshot", "create", "web-1"]);
    assert!(file.is_file(), "what is frozen stays where it is");
    assert_ne!(delta_file(store, "web-1"), Some(file.clone()));
    assert_eq!(delta_file(store, "web-1").expect("elsewhere").parent(), file.parent());
    store.ok(["clone", "web-1@s1", "copy"]);
    assert_eq!(delta_file(store, "copy"), None, "nobody said so of this one");
    store.ok(["clone", "--full", "web-1", "full", "--delta-dir", text(disk.path())]);
    assert!(delta_file(store, "full").is_some());
    store.ok(["rm", "--cascade", "--force", "web-1", "web-2", "full"]);
    assert!(entries(disk.path()).is_empty(), "the last delta takes its directory along");
    assert_tidy(store);
}

#[test]
fn directories_that_cannot_hold_deltas_are_refused_before_anything_is_done() {
    let Bench { store, disk } = &Bench::new();
    let missing = disk.path().join("missing");
    let inside = store.folder().join("root/vms");
    let refused = |dir: &Path, why: &str| {
        refuses(store, 2, ["clone", "tiny", "web", "--delta-dir", text(dir)], why);
    };
    refused(&missing, "there is no such directory");
    refused(&store.folder().join("kernel"), "there is no such directory");
    refused(&inside, "it is in the store");
    let around = store.folder().join("around");
    std::os::unix::fs::symlink(&inside, &around).expect("a link");
    refused(&around, "it is in the store");
    store.ok(["clone", "tiny", "web"]);
    refuses(store, 2, ["clone", "web", "--delta-dir", text(&missing)], "no such directory");
    assert_eq!(json(store, ["tree"])[0]["layers"], serde_json::json!([]), "nothing was frozen");
    assert_tidy(store);
}

#[test]
fn guests_work_on_layers_of_two_filesystems() {
    if !kvm("deltas on another filesystem") {
        return;
    }
    let bench = Bench::written();
    let store = &bench.store;
    obeys(store, "web", VERIFY);
    let private = json(store, ["df", "web"])[0]["private_bytes"].as_u64().expect("a number");
    assert!(private >= 128 << 10, "what is elsewhere counts: {private}");
    store.ok([
        "start",
        "web",
        "--cmdline",
        "offshoot.do=write:3:range=64k+64k,flush,print:on,idle",
    ]);
    Follower::new(store, "web").wait_for("guest: on");
    store.ok(["snapshot", "create", "web", "live"]);
    store.ok(["stop", "--force", "web"]);
    store.ok(["clone", "web@live", "copy"]);
    obeys(store, "copy", "verify:1:range=0+64k,verify:3:range=64k+64k,write:4:range=0+64k,flush");
    store.ok(["snapshot", "revert", "web", "s1"]);
    obeys(store, "web", "verify:1:range=0+64k,verify-base:range=64k+,write:5,flush");
    store.ok(["reset", "web"]);
    obeys(store, "web", "verify:1:range=0+64k,verify-base:range=64k+");
    bench.assert_accounted();
    store.ok(["rm", "web"]);
    store.ok(["commit", "copy"]);
    obeys(store, "copy", "verify:4:range=0+64k,verify:3:range=64k+64k");
    store.ok(["check", "--deep"]);
    store.ok(["rm", "copy"]);
    assert!(entries(bench.disk.path()).is_empty(), "the layers went with their last child");
    assert_tidy(store);
}

#[test]
fn chains_across_filesystems_are_flattened_committed_and_rebased() {
    if !kvm("chains across filesystems") {
        return;
    }
    let bench = Bench::written();
    let store = &bench.store;
    store.ok(["commit", "web"]);
    obeys(store, "web", VERIFY);
    store.ok(["clone", "web@s1", "flat"]);
    store.ok(["flatten", "flat"]);
    obeys(store, "flat", VERIFY);
    bench.clone_there("flat", "there");
    store.ok(["rebase", "there", "--onto", "tiny"]);
    obeys(store, "there", VERIFY);
    store.ok(["snapshot", "rm", "web", "s1"]);
    obeys(store, "web", VERIFY);
    let sealed = store.folder().join("there.sealed");
    store.ok(["export", "there", "-o", text(&sealed)]);
    store.ok(["attach", text(&sealed), "--name", "back"]);
    obeys(store, "back", VERIFY);
    bench.assert_accounted();
    assert_tidy(store);
}

#[test]
fn an_ephemeral_clone_elsewhere_is_clean_at_every_start() {
    if !kvm("ephemeral clones elsewhere") {
        return;
    }
    let Bench { store, disk } = &Bench::new();
    let words = ["clone", "tiny", "web", "--ephemeral", "--memory=64M", "--delta-dir"];
    store.ok(words.into_iter().chain([text(disk.path())]));
    for _ in 0..2 {
        obeys(store, "web", "verify-base,write:1,flush,verify:1");
    }
    let mut run = store.command(["run", "tiny", "--rm", "--memory=64M", "--delta-dir"]);
    run.arg(disk.path()).args(["--cmdline", "offshoot.do=write:1,verify:1"]);
    assert_eq!(finish(run).status.code(), Some(0));
    assert_eq!(entries(disk.path()).len(), 1, "only the clone's is left");
    assert_tidy(store);
}

#[test]
fn while_its_directory_is_gone_a_vm_is_kept_and_nothing_is_made_anew() {
    if !kvm("a delta directory that is gone") {
        return;
    }
    let bench = Bench::written();
    let store = &bench.store;
    store.ok(["clone", "web@s1", "copy"]);
    store.ok(["snapshot", "create", "copy"]);
    bench.clone_there("copy@s1", "child");
    let mount = format!("mount what holds {}", bench.disk.path().display());
    bench.unmounted(|| {
        for words in [["start", "web"], ["reset", "web"], ["start", "copy"], ["rm", "web"]] {
            let said = fails(5, store.command(words));
            assert!(said.contains(words[1]) && said.contains(&mount), "{words:?}: {said}");
        }
        refuses(store, 5, ["rm", "--cascade", "-f", "copy"], "cannot remove copy");
        let found = fix(store);
        for name in ["web", "copy", "child"] {
            assert!(found.contains(&format!("vm: {name}: ")), "{found}");
        }
        assert!(found.contains(&mount) && !found.contains("fixed"), "{found}");
        assert_eq!(store.ok(["prune", "-q"]), "");
        assert_eq!(store.ok(["ls", "-q"]), "child\ncopy\nweb\n");
    });
    obeys(store, "web", VERIFY);
    obeys(store, "child", "verify:1:range=0+64k,verify-base:range=64k+");
    bench.assert_accounted();
    assert_tidy(store);
}

#[test]
fn an_inventory_lost_while_the_directory_is_gone_comes_back_with_it() {
    if !kvm("an inventory and a delta directory that are gone") {
        return;
    }
    let bench = Bench::written();
    let store = &bench.store;
    store.ok(["clone", "tiny", "parent"]);
    store.ok(["snapshot", "create", "parent"]);
    bench.clone_there("parent@s1", "child");
    store.ok(["rm", "parent"]);
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(store.folder().join(format!("root/inventory.db{suffix}")));
    }
    bench.unmounted(|| {
        let found = fix(store);
        for name in ["web", "child"] {
            assert!(found.contains(&format!("{name}: part of its disk is in ")), "{found}");
        }
        refuses(store, 5, ["image", "rm", "tiny"], "part of its disk is in ");
        store.ok(["prune"]);
        fix(store);
    });
    fix(store);
    assert_eq!(store.ok(["ls", "-q"]), "child\nweb\n");
    obeys(store, "web", VERIFY);
    obeys(store, "child", "verify-base");
    bench.assert_accounted();
    assert_tidy(store);
}

#[test]
fn a_vm_whose_directory_is_lost_for_good_is_forgotten_on_request() {
    let bench = Bench::new();
    let store = &bench.store;
    bench.clone_there("tiny", "web");
    store.ok(["snapshot", "create", "web"]);
    store.ok(["clone", "web@s1", "copy"]);
    let file = delta_file(store, "web").expect("elsewhere");
    bench.unmounted(|| {
        let said = fails(5, store.command(["rm", "web"]));
        assert!(said.contains("offshoot rm --forget web"), "{said}");
        let said = fails(0, store.command(["rm", "--forget", "web"]));
        assert!(said.contains(&format!("{} is left", file.display())), "{said}");
        store.ok(["rm", "copy"]);
        assert_eq!(store.ok(["prune", "-q"]), "", "the snapshot may be there tomorrow");
        assert_eq!(store.ok(["prune", "-q", "--forget"]).lines().count(), 1);
        assert_tidy(store);
    });
    assert_eq!(bench.files().len(), 2, "its delta and its snapshot are untouched");
}

/// Kills a command at each of these points, and has `doctor --fix` put the store in order.
#[track_caller]
fn dies_and_is_repaired(bench: &Bench, command: &str, points: &[&str], after: &str) {
    let store = &bench.store;
    for point in points {
        let there = text(bench.disk.path());
        let words = command.split(' ').map(|word| if word == "DIR" { there } else { word });
        let mut dies = store.command(words);
        dies.env("OFFSHOOT_TEST_DIE_AT", point);
        assert_eq!(finish(dies).status.code(), None, "{command} does not come by {point}");
        fix(store);
        store.ok(["prune"]);
        assert_tidy(store);
        bench.assert_accounted();
        if store.ok(["ls", "-q"]).contains("web\n") {
            obeys(store, "web", after);
        }
    }
}

#[test]
fn commands_killed_between_their_steps_leave_no_file_without_an_owner() {
    if !kvm("commands on deltas elsewhere that die") {
        return;
    }
    let bench = &Bench::written();
    let made = ["delta-announced", "clone-made", "clone-published"];
    dies_and_is_repaired(bench, "clone web@s1 copy --delta-dir DIR", &made, VERIFY);
    dies_and_is_repaired(bench, "reset web", &["delta-announced", "delta-made"], VERIFY);
    let reset = "verify:1:range=0+64k,verify-base:range=64k+";
    dies_and_is_repaired(bench, "reset web", &["delta-replaced", "delta-removed"], reset);
    let frozen = ["layer-made", "layer-published", "delta-announced", "delta-replaced"];
    dies_and_is_repaired(bench, "snapshot create web", &frozen, reset);
    dies_and_is_repaired(bench, "rm web", &["vm-taken"], reset);
    dies_and_is_repaired(bench, "rm web", &["trash-taken"], "");
    bench.clone_there("tiny", "web");
    dies_and_is_repaired(bench, "rm web", &["delta-removed"], "");
    bench.store.ok(["rm", "copy"]);
    assert!(bench.files().is_empty());
}

#[test]
fn a_removal_broken_off_waits_for_its_directory() {
    let bench = Bench::new();
    let store = &bench.store;
    bench.clone_there("tiny", "web");
    let mut rm = store.command(["rm", "web"]);
    rm.env("OFFSHOOT_TEST_DIE_AT", "trash-taken");
    assert_eq!(finish(rm).status.code(), None);
    bench.unmounted(|| {
        let report = fix(store);
        assert!(report.contains("which is not there") && !report.contains("fixed"), "{report}");
    });
    assert_eq!(bench.files().len(), 1);
    assert!(fix(store).contains("fixed"));
    assert!(entries(bench.disk.path()).is_empty());
    assert_tidy(store);
}

#[test]
fn a_filesystem_of_deltas_that_is_full_pauses_the_vm_and_one_unmounted_keeps_it() {
    let test = "a small filesystem of deltas";
    if !kvm(test) || !root(test) {
        return;
    }
    let store = tiny();
    let at = store.folder().join("small");
    let Some(small) = Tmpfs::mount(&at, "2m") else { return };
    let words = ["clone", "tiny", "web", "--memory=64M", "--disk-size=8M", "--delta-dir"];
    store.ok(words.into_iter().chain([text(&at)]));
    store.ok(["start", "web", "--cmdline", "offshoot.do=write:7,flush"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while state(&store, "web") != "paused" {
        assert!(Instant::now() < deadline, "it is {}", state(&store, "web"));
    }
    let message = store.inspect("web")["trouble"]["message"].to_string();
    assert!(message.contains(&format!("the filesystem at {} is full", at.display())), "{message}");
    store.ok(["stop", "--force", "web"]);
    drop(small);
    refuses(&store, 5, ["start", "web"], &format!("mount what holds {}", at.display()));
    assert_eq!(store.ok(["ls", "-q"]), "web\n");
    assert!(entries(&at).is_empty(), "nothing is made where it was mounted");
    store.ok(["rm", "--forget", "web"]);
    assert_tidy(&store);
}

#[test]
fn a_lab_keeps_its_deltas_where_its_file_says() {
    let Bench { store, disk } = &Bench::new();
    let lab = store.folder().join("lab.toml");
    let group = |dir: &str| {
        format!("name = 'l'\n[groups.g]\nsource = 'tiny'\nstart = false\ndelta_dir = '{dir}'\n")
    };
    fs::write(&lab, group(text(disk.path()))).expect("written");
    store.ok(["lab", "up", "-f", text(&lab)]);
    assert!(delta_file(store, "l-g").expect("elsewhere").starts_with(disk.path()));
    fs::write(&lab, group("..")).expect("written");
    let plan = json(store, ["lab", "up", "--dry-run", "-f", text(&lab)]);
    let differs = plan["members"][0]["differs"][0].as_str().expect("it does").to_owned();
    assert!(differs.starts_with(&format!("delta_dir is {}", disk.path().display())), "{differs}");
    store.ok(["lab", "reset", "-f", text(&lab)]);
    store.ok(["lab", "down", "-f", text(&lab)]);
    assert!(entries(disk.path()).is_empty());
    assert_tidy(store);
}
