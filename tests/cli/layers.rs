//! Layers rearranged: flatten, commit, rebase, resize and compact, while a guest runs and while
//! none does. What the disk reads as never changes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use blockdev::{Buffers, Disk, Engine, Op, Stack, StackSpec, Tag};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::kvm;
use crate::common::store::{Follower, Store, finish};
use crate::support::{
    BASE_BYTES, assert_tidy, fails, json, kernel_file, obeys, refuses, text, tiny, written,
};

/// What of [`written`]'s disk must be there.
const VERIFY: &str = "verify:1:range=0+64k,verify:2:range=64k+64k,verify-base:range=128k+";

/// Starts a guest that writes 3 over what is at 32k, and then does nothing.
fn idles(store: &Store) {
    let orders = "offshoot.do=write:3:range=32k+4k,flush,print:idle,idle";
    store.ok(["start", "web", "--cmdline", orders]);
    Follower::new(store, "web").wait_for("guest: idle");
}

/// What must be there after [`idles`].
const VERIFY_ONLINE: &str = "verify:1:range=0+32k,verify:3:range=32k+4k,verify:1:range=36k+28k,\
                             verify:2:range=64k+64k,verify-base:range=128k+";

fn lineage(store: &Store) -> Value {
    store.inspect("web")["lineage"].clone()
}

#[test]
fn a_flattened_vm_needs_nothing_below_it() {
    if !kvm("flatten") {
        return;
    }
    let store = written();
    store.ok(["flatten", "web"]);
    assert_eq!(lineage(&store), Value::Array(vec![]));
    obeys(&store, "web", VERIFY);
    // The snapshot is there as long as nobody removes it.
    store.ok(["clone", "web@s1", "past"]);
    obeys(&store, "past", "verify:1:range=0+64k,verify-base:range=64k+");
    store.ok(["rm", "past"]);
    store.ok(["snapshot", "rm", "web", "s1"]);
    obeys(&store, "web", VERIFY);
    store.ok(["flatten", "web"]);
    assert!(store.ok(["tree"]).contains("└── web"));
    assert_tidy(&store);
}

#[test]
fn a_running_vm_is_flattened_and_does_not_notice() {
    if !kvm("flatten of a running VM") {
        return;
    }
    let store = written();
    idles(&store);
    store.ok(["flatten", "web"]);
    assert_eq!(lineage(&store), Value::Array(vec![]));
    store.ok(["snapshot", "create", "web", "after"]);
    store.ok(["stop", "--force", "web"]);
    obeys(&store, "web", VERIFY_ONLINE);
    assert_tidy(&store);
}

#[test]
fn a_commit_moves_the_snapshot_to_the_present() {
    if !kvm("commit") {
        return;
    }
    let store = written();
    store.ok(["commit", "web"]);
    assert_eq!(json(&store, ["snapshot", "ls", "web"]).as_array().map(Vec::len), Some(1));
    assert_eq!(store.inspect("web")["delta"]["owned_blocks"], 0);
    obeys(&store, "web", VERIFY);
    store.ok(["clone", "web@s1", "present"]);
    obeys(&store, "present", VERIFY);
    obeys(&store, "web", "write:3:range=32k+4k,flush");
    refuses(&store, 4, ["commit", "web"], "others stand on web@s1: present");
    store.ok(["flatten", "present"]);
    store.ok(["commit", "web"]);
    obeys(&store, "web", VERIFY_ONLINE);
    obeys(&store, "present", VERIFY);
    refuses(&store, 4, ["commit", "present"], "images never change");
    assert_tidy(&store);
}

#[test]
fn a_commit_does_not_change_what_another_vm_can_go_back_to() {
    if !kvm("commit into another VM's snapshot") {
        return;
    }
    let store = written();
    store.ok(["flatten", "web"]);
    store.ok(["clone", "web@s1", "copy"]);
    obeys(&store, "copy", "write:3:range=32k+4k,flush");
    refuses(&store, 4, ["commit", "copy"], "web@s1 is a snapshot of another VM");
    store.ok(["snapshot", "revert", "web", "s1", "--force"]);
    obeys(&store, "web", "verify:1:range=0+64k,verify-base:range=64k+");
    store.ok(["rm", "web"]);
    store.ok(["commit", "copy"]);
    obeys(&store, "copy", "verify:1:range=0+32k,verify:3:range=32k+4k,verify:1:range=36k+28k");
    assert_tidy(&store);
}

#[test]
fn a_running_vm_commits_and_goes_on() {
    if !kvm("commit of a running VM") {
        return;
    }
    let store = written();
    idles(&store);
    store.ok(["commit", "web"]);
    store.ok(["commit", "web"]);
    assert_eq!(lineage(&store), serde_json::json!(["tiny", "web@s1"]));
    store.ok(["stop", "--force", "web"]);
    store.ok(["prune"]);
    obeys(&store, "web", VERIFY_ONLINE);
    assert_tidy(&store);
}

#[test]
fn a_running_vm_commits_into_a_snapshot_that_was_taken_while_it_ran() {
    if !kvm("commit into a snapshot of a running VM") {
        return;
    }
    let store = written();
    idles(&store);
    store.ok(["snapshot", "create", "web", "s2"]);
    store.ok(["commit", "web"]);
    assert_eq!(lineage(&store), serde_json::json!(["tiny", "web@s1", "web@s2"]));
    store.ok(["stop", "--force", "web"]);
    obeys(&store, "web", VERIFY_ONLINE);
    assert_tidy(&store);
}

#[test]
fn what_a_refused_commit_has_frozen_is_merged_by_the_next() {
    if !kvm("commit of a running VM") {
        return;
    }
    let store = written();
    idles(&store);
    let socket = store.folder().join("socket");
    let serve = ["disk", "serve", "web@s1", "--read-only", "--nbd", text(&socket)];
    let mut reader = store.command(serve).stdout(Stdio::piped()).spawn().expect("started");
    let mut line = String::new();
    let said = reader.stdout.as_mut().map(|said| BufReader::new(said).read_line(&mut line));
    assert!(said.is_some_and(|said| said.is_ok()) && line.starts_with("serving"), "{line}");
    let said = fails(4, store.command(["commit", "web"]));
    assert!(said.contains("/delta is being read by another process"), "{said}");
    assert!(said.contains("\ntry: wait until it is served or exported no more"), "{said}");
    reader.kill().and_then(|()| reader.wait()).expect("ended");
    store.ok(["commit", "web"]);
    assert_eq!(lineage(&store), serde_json::json!(["tiny", "web@s1"]));
    store.ok(["stop", "--force", "web"]);
    obeys(&store, "web", VERIFY_ONLINE);
    assert_tidy(&store);
}

#[test]
fn what_was_frozen_for_a_clone_is_committed_too_when_that_is_gone() {
    if !kvm("commit") {
        return;
    }
    let store = written();
    store.ok(["clone", "web", "copy"]);
    refuses(&store, 4, ["commit", "web"], "copy");
    store.ok(["rm", "copy"]);
    store.ok(["commit", "web"]);
    assert_eq!(lineage(&store), serde_json::json!(["tiny", "web@s1"]));
    obeys(&store, "web", VERIFY);
    store.ok(["clone", "web@s1", "present"]);
    obeys(&store, "present", VERIFY);
    assert_tidy(&store);
}

#[test]
fn a_rebased_vm_reads_as_before_on_another_image() {
    if !kvm("rebase") {
        return;
    }
    let store = written();
    let (kernel, other) = (kernel_file(&store), store.folder().join("other.raw"));
    fs::write(&other, vec![7; 300_000]).expect("written");
    let kernel = text(&kernel);
    store.ok(["image", "import", text(&other), "--name", "other", "--kernel", kernel]);
    refuses(&store, 3, ["rebase", "web", "--onto", "nosuch"], "there is no image nosuch");
    store.ok(["rebase", "web", "--onto", "other"]);
    assert_eq!(lineage(&store), serde_json::json!(["other"]));
    obeys(&store, "web", VERIFY);
    idles(&store);
    store.ok(["rebase", "web", "--onto", "tiny"]);
    assert_eq!(lineage(&store), serde_json::json!(["tiny"]));
    store.ok(["stop", "--force", "web"]);
    obeys(&store, "web", VERIFY_ONLINE);
    store.ok(["image", "rm", "other"]);
    assert_tidy(&store);
}

#[test]
fn a_vm_on_another_image_or_none_goes_back_to_a_snapshot_on_its_old_one() {
    if !kvm("a revert after a rebase") {
        return;
    }
    const THEN: &str = "verify:1:range=0+64k,verify-base:range=64k+";
    let store = written();
    let (kernel, other) = (kernel_file(&store), store.folder().join("other.raw"));
    fs::write(&other, vec![7; 300_000]).expect("written");
    let import = ["image", "import", text(&other), "--name", "other"];
    store.ok(import.into_iter().chain(["--kernel", text(&kernel)]));
    store.ok(["rebase", "web", "--onto", "other"]);
    let mut dies = store.command(["snapshot", "revert", "web", "s1", "--force"]);
    dies.env("OFFSHOOT_TEST_DIE_AT", "stands-elsewhere");
    assert_eq!(finish(dies).status.code(), None);
    refuses(&store, 5, ["start", "web"], "try: offshoot rebase web --onto tiny");
    store.ok(["rebase", "web", "--onto", "tiny"]);
    obeys(&store, "web", THEN);
    let verbs: [&[&str]; 2] = [&["rebase", "web", "--onto", "other"], &["promote", "web"]];
    for (copy, verb) in ["copy", "copy-2"].into_iter().zip(verbs) {
        store.ok(verb);
        store.ok(["clone", "web@s1", copy]);
        obeys(&store, copy, THEN);
        store.ok(["snapshot", "revert", "web", "s1", "--force"]);
        assert_eq!(lineage(&store), serde_json::json!(["tiny", "web@s1"]));
        obeys(&store, "web", THEN);
    }
    store.ok(["image", "rm", "other"]);
    refuses(&store, 4, ["image", "rm", "tiny"], "stand on it: copy, copy-2, web");
    assert_tidy(&store);
}

#[test]
fn a_disk_grows_and_shrinks_without_old_bytes() {
    if !kvm("resize") {
        return;
    }
    let store = written();
    store.ok(["resize", "web", "2M"]);
    assert_eq!(store.inspect("web")["vm"]["disk_size"], 2 << 20);
    let end = BASE_BYTES.next_multiple_of(4096);
    obeys(&store, "web", &format!("verify-zero:range={end}+,write:5:range={end}+4k,flush"));
    refuses(&store, 4, ["resize", "web", "64k"], "would lose what is behind 65536");
    store.ok(["resize", "web", "64k", "--force"]);
    obeys(&store, "web", "verify:1");
    store.ok(["resize", "web", "2M"]);
    obeys(&store, "web", "verify:1:range=0+64k,verify-zero:range=64k+");
    // The snapshot has the length it had.
    store.ok(["snapshot", "revert", "web", "s1", "--force"]);
    assert_eq!(store.inspect("web")["vm"]["disk_size"], BASE_BYTES);
    obeys(&store, "web", "verify:1:range=0+64k,verify-base:range=64k+");
    idles(&store);
    refuses(&store, 4, ["resize", "web", "64k", "--force"], "it is running");
    store.ok(["resize", "web", "4M"]);
    assert_eq!(store.inspect("web")["vm"]["disk_size"], 4 << 20);
    store.ok(["stop", "--force", "web"]);
    let first = "verify:1:range=0+32k,verify:3:range=32k+4k,verify:1:range=36k+28k";
    obeys(&store, "web", &format!("{first},verify-zero:range={end}+"));
    assert_tidy(&store);
}

/// Writes so many zero bytes to the start of the disk, as a guest that does not know better.
fn write_zeroes(store: &Store, len: usize) {
    let stack = store.inspect("web")["spec"]["disks"][0]["stack"].clone();
    let spec: StackSpec = serde_json::from_value(stack).expect("it has a disk");
    let stack = Stack::open(&spec).expect("it does not run");
    let mut disk: Box<dyn Disk> = stack.disk(Engine::Sync).expect("it is always there");
    disk.submit(Op::Write { at: 0, from: Buffers::from_vec(vec![0; len]) }, Tag(0));
    let mut done = Vec::new();
    disk.poll(&mut done).expect("the engine works");
    done.pop().expect("it has finished").result.expect("written");
    stack.flush().expect("flushed");
}

#[test]
fn compacting_gives_back_the_space_of_zeroes() {
    if !kvm("compact") {
        return;
    }
    let store = written();
    write_zeroes(&store, 64 << 10);
    let view = json(&store, ["compact", "web"]);
    let bytes = |key: &str| view[key].as_u64().expect("a number");
    assert!(bytes("after") + (64 << 10) <= bytes("before"), "{view}");
    let verify = "verify-zero:range=0+64k,verify:2:range=64k+64k";
    obeys(&store, "web", verify);
    idles(&store);
    store.ok(["compact", "web"]);
    assert_tidy(&store);
}

#[test]
fn verbs_without_their_vm_say_so() {
    let store = tiny();
    for verb in ["flatten", "commit", "compact", "reset"] {
        refuses(&store, 3, [verb, "nosuch"], "there is no VM nosuch");
    }
    refuses(&store, 3, ["resize", "nosuch", "1G"], "there is no VM nosuch");
    refuses(&store, 3, ["rebase", "nosuch", "--onto", "tiny"], "there is no VM nosuch");
    refuses(&store, 3, ["snapshot", "ls", "nosuch"], "there is no VM nosuch");
    refuses(&store, 2, ["resize", "nosuch", "lots"], "lots");
    assert_eq!(store.ok(["prune"]), "");
}

#[test]
fn a_snapshot_below_one_that_was_committed_into_is_removed() {
    if !kvm("snapshot rm after a commit") {
        return;
    }
    let store = written();
    store.ok(["snapshot", "create", "web"]);
    obeys(&store, "web", "write:4:range=128k+64k,flush");
    store.ok(["commit", "web"]);
    store.ok(["snapshot", "rm", "web", "s1"]);
    obeys(&store, "web", "verify:1:range=0+64k,verify:2:range=64k+64k,verify:4:range=128k+64k");
    assert_tidy(&store);
}

#[test]
fn a_commit_that_ended_without_its_command_keeps_no_other_out() {
    if !kvm("commit without its command") {
        return;
    }
    let store = written();
    idles(&store);
    let mut commit = store.command(["commit", "web"]);
    commit.env("OFFSHOOT_TEST_DIE_AT", "operation-begun");
    assert_eq!(finish(commit).status.code(), None, "it does not come by there");
    // The monitor goes on with it, and says so for as long as that takes.
    loop {
        let again = finish(store.command(["commit", "web"]));
        if again.status.success() {
            break;
        }
        let said = String::from_utf8_lossy(&again.stderr);
        assert!(said.contains("under way"), "{said}");
    }
    assert!(store.ok(["tree"]).matches("@ web@").count() == 1, "{}", store.ok(["tree"]));
    store.ok(["stop", "--force", "web"]);
    obeys(&store, "web", VERIFY_ONLINE);
    assert_tidy(&store);
}

#[test]
fn a_snapshot_that_is_half_merged_into_is_not_removed() {
    if !kvm("snapshot rm after half a commit") {
        return;
    }
    let store = written();
    let mut commit = store.command(["commit", "web"]);
    commit.env("OFFSHOOT_TEST_DIE_AT", "merging");
    assert_eq!(finish(commit).status.code(), None, "it does not come by there");
    refuses(&store, 4, ["snapshot", "rm", "web", "s1"], "a commit into it has not ended");
    store.ok(["commit", "web"]);
    store.ok(["snapshot", "rm", "web", "s1"]);
    obeys(&store, "web", VERIFY);
    assert_tidy(&store);
}

#[test]
fn a_monitor_that_is_stopped_keeps_nobody_waiting() {
    if !kvm("a stopped monitor") {
        return;
    }
    let store = written();
    idles(&store);
    let pid = store.inspect("web")["pid"].as_i64().expect("it runs");
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::STOP).expect("it is ours");
    let said = fails(1, store.command(["flatten", "web"]));
    assert!(said.contains("no answer from the machine"), "{said}");
    assert!(said.contains("try: kill -CONT") && said.contains("stop --force"), "{said}");
    kill_process(pid, Signal::CONT).expect("it is ours");
    store.ok(["flatten", "web"]);
    store.ok(["stop", "--force", "web"]);
    obeys(&store, "web", VERIFY_ONLINE);
}
