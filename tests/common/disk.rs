//! A clone's disk seen from outside, while its machine does not run.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use blockdev::{Buffers, Disk, Engine, Op, Stack, StackSpec, Tag};

use super::store::{Store, both};

/// How much is copied in one step, bytes.
const STEP: u64 = 1 << 20;

/// Checks the ext4 file system on the disk of `name`: `e2fsck -fn` has nothing to say.
pub fn assert_clean(store: &Store, name: &str) {
    e2fsck("-fn", &flat(store, name));
}

/// The same for a disk whose machine was killed: first its journal is replayed, as a kernel that
/// mounts it would do.
pub fn assert_clean_after_replay(store: &Store, name: &str) {
    assert_partition_clean_after_replay(store, name, 0);
}

/// The same where the file system begins at this byte of the disk.
pub fn assert_partition_clean_after_replay(store: &Store, name: &str, at: u64) {
    let raw = flat_from(store, name, at);
    e2fsck("-pEjournal_only", &raw);
    e2fsck("-fn", &raw);
}

/// The bytes its delta takes on the filesystem.
pub fn bytes_on_disk(store: &Store, name: &str) -> u64 {
    store.inspect(name)["delta"]["bytes_on_disk"].as_u64().expect("the delta is sound")
}

fn e2fsck(flags: &str, raw: &Path) {
    let mut e2fsck = Command::new("e2fsck");
    // A plain user's PATH may not lead there.
    e2fsck.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").arg(flags).arg(raw);
    let output = e2fsck.output().expect("e2fsck is installed");
    assert!(output.status.success(), "e2fsck {flags} {}:\n{}", raw.display(), both(&output));
}

/// Copies the disk of `name` into a raw file beside the store.
pub fn flat(store: &Store, name: &str) -> PathBuf {
    flat_from(store, name, 0)
}

/// The same, from this byte of the disk to its end.
fn flat_from(store: &Store, name: &str, at: u64) -> PathBuf {
    let to = store.folder().join(name).with_extension("raw");
    let file = File::create(&to).expect("a file in the store's folder");
    let stack = store.inspect(name)["spec"]["disks"][0]["stack"].clone();
    copy(&serde_json::from_value(stack).expect("it has a disk"), at, file);
    to
}

fn copy(from: &StackSpec, start: u64, mut to: File) {
    let stack = Stack::open(from).expect("a machine that does not run leaves a disk that opens");
    let mut disk = stack.disk(Engine::Sync).expect("the synchronous engine is always there");
    for at in (start..stack.size()).step_by(usize::try_from(STEP).expect("it is small")) {
        let len = STEP.min(stack.size() - at);
        to.write_all(&read(&mut *disk, at, len)).expect("there is room");
    }
}

fn read(disk: &mut dyn Disk, at: u64, len: u64) -> Vec<u8> {
    let len = usize::try_from(len).expect("a step is small");
    disk.submit(Op::Read { at, into: Buffers::from_vec(vec![0; len]) }, Tag(at));
    let mut done = Vec::new();
    // The synchronous engine has finished what was submitted.
    disk.poll(&mut done).expect("the engine works");
    let done = done.pop().expect("one read was submitted");
    done.result.expect("the disk can be read");
    done.buffers.expect("a read has buffers").to_vec()
}
