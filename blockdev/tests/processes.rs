//! What other processes do: one that is killed as it writes, one whose disk is full.
//!
//! These stand apart from the crate's own tests. A process that is being started holds all files of
//! the one that starts it, locked as they are, until it runs its own program; so who closes a delta
//! and opens it again next door finds it busy now and then.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests fail by panicking, and make small numbers"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use blockdev::base::{self, Base};
use blockdev::{Buffers, Disk, Engine, Error, ErrorKind, Op, Stack, StackSpec, Tag, delta};
use rustix::event::{PollFd, PollFlags, poll};
use tempfile::tempdir;

/// One test at a time, for the reason above.
static ALONE: Mutex<()> = Mutex::new(());

/// What [`write_as_child`] opens.
const WRITES: &str = "BLOCKDEV_TEST_CHILD";
/// What [`import_as_child`] imports; it runs where a small tmpfs can be mounted on `small`.
const IMPORTS: &str = "BLOCKDEV_TEST_IMPORT";

#[test]
fn a_delta_open_in_another_process_is_busy_and_free_when_that_is_killed() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempdir().unwrap();
    let spec = clone(dir.path());
    for _ in 0..if long() { 300 } else { 10 } {
        let mut child = child(&spec);
        let busy = Stack::open(&spec).unwrap_err();
        assert!(matches!(&busy, Error::Busy { path } if Some(path) == spec.delta.as_ref()));
        assert_eq!(busy.kind(), ErrorKind::Busy);
        child.kill().unwrap();
        child.wait().unwrap();
        // At once: the ring that the kernel has yet to take apart does not keep the lock.
        let stack = Stack::open(&spec).unwrap();
        let mut disk = stack.disk(Engine::Uring).unwrap();
        let mut read = |at, len| run(&mut *disk, Op::Read { at, into: zeroes(len) });
        assert_eq!(read(0, 16_384), [7; 16_384], "what was flushed is there");
        let mut expected = pattern(40_000);
        expected.resize(65_536, 0);
        for (found, base) in read(16_384, 49_152).chunks(512).zip(expected[16_384..].chunks(512)) {
            assert!(found == base || found == [9; 512], "neither old nor new");
        }
    }
}

/// Not a test of its own: in a child process it writes, flushes, says so, and goes on writing.
#[test]
fn write_as_child() {
    let Ok(spec) = std::env::var(WRITES) else { return };
    let stack = Stack::open(&serde_json::from_str(&spec).unwrap()).unwrap();
    let mut disk = stack.disk(Engine::Uring).unwrap();
    run(&mut *disk, Op::Write { at: 0, from: Buffers::from_vec(vec![7; 16_384]) });
    run(&mut *disk, Op::Flush);
    println!("flushed");
    let mut done = Vec::new();
    for tag in 0.. {
        let at = 16_384 + tag % 12 * 4096;
        disk.submit(Op::Write { at, from: Buffers::from_vec(vec![9; 4096]) }, Tag(tag));
        disk.poll(&mut done).unwrap();
        done.clear();
    }
}

#[test]
fn a_full_disk_leaves_no_half_image() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("raw"), pattern(2 << 20)).unwrap();
    fs::create_dir(dir.path().join("small")).unwrap();
    let script = "mount -t tmpfs -o size=1m none \"$BLOCKDEV_TEST_IMPORT/small\" || exit 77; \
                  exec \"$0\" --exact import_as_child --nocapture";
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(IMPORTS, dir.path())
        .status();
    match status {
        Ok(status) if status.code() == Some(0) => {}
        Ok(status) if !matches!(status.code(), Some(1 | 77)) => panic!("{status}"),
        other => {
            eprintln!("SKIPPED: no user namespace to mount a tmpfs in: {other:?}");
            assert!(std::env::var_os("CI").is_none(), "this must run in CI");
        }
    }
}

/// Not a test of its own: what [`a_full_disk_leaves_no_half_image`] runs.
#[test]
fn import_as_child() {
    let Some(dir) = std::env::var_os(IMPORTS).map(PathBuf::from) else { return };
    let to = dir.join("small/base");
    let error = base::import(&dir.join("raw"), &to, &mut |_, _| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(error.advice().is_some_and(|advice| advice.contains("room")));
    assert!(!to.exists());
}

/// Opens the clone in another process and returns when it has written and flushed.
fn child(spec: &StackSpec) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "write_as_child", "--nocapture"])
        .env(WRITES, serde_json::to_string(spec).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let ready = lines.map_while(Result::ok).any(|line| line.ends_with("flushed"));
    assert!(ready, "the child ended early");
    child
}

/// A delta of 64 KiB over a base of 40,000 bytes.
fn clone(dir: &Path) -> StackSpec {
    let [raw, path, delta] = ["raw", "base", "delta"].map(|name| dir.join(name));
    fs::write(&raw, pattern(40_000)).unwrap();
    let identity = base::import(&raw, &path, &mut |_, _| {}).unwrap();
    delta::create(&delta, 65_536, &delta::Parent::base(&identity).unwrap()).unwrap();
    let base = Some(Base { path, identity });
    StackSpec { base, delta: Some(delta), ..StackSpec::default() }
}

/// Does `op`, alone, and returns its buffers' bytes.
fn run(disk: &mut dyn Disk, op: Op) -> Vec<u8> {
    disk.submit(op, Tag(1));
    let mut done = Vec::new();
    disk.poll(&mut done).unwrap();
    while disk.in_flight() > 0 {
        poll(&mut [PollFd::new(&disk.wakeup(), PollFlags::IN)], None).unwrap();
        disk.poll(&mut done).unwrap();
    }
    done[0].result.as_ref().unwrap();
    done[0].buffers.as_ref().map(Buffers::to_vec).unwrap_or_default()
}

fn zeroes(len: usize) -> Buffers {
    Buffers::from_vec(vec![0; len])
}

/// Bytes of which no sector is like another.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 512 * 7 + at) as u8).collect()
}

/// Whether the tests may take many minutes.
fn long() -> bool {
    std::env::var("OFFSHOOT_TESTS").is_ok_and(|tests| tests == "long")
}
