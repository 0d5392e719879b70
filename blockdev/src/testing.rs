//! What this crate's tests share: a clone in a temporary directory, and operations that wait.

use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use tempfile::TempDir;

use crate::base::{self, Base};
use crate::sync::scheduled::wait_readable;
use crate::{Buffers, Disk, Done, Engine, Op, Result, Stack, StackSpec, Tag, delta};

pub(crate) const ENGINES: [Engine; 2] = [Engine::Sync, Engine::Uring];

/// A base and a delta on top of it, in files.
pub(crate) struct Clone {
    pub(crate) dir: TempDir,
    pub(crate) spec: StackSpec,
}

impl Clone {
    pub(crate) fn new(base: &[u8], size: u64) -> Clone {
        let dir = tempfile::tempdir().unwrap();
        let base = import(&dir, "base", base);
        let delta = dir.path().join("delta");
        delta::create(&delta, size, &delta::Parent::base(&base.identity).unwrap()).unwrap();
        Clone { dir, spec: over(base, Some(delta)) }
    }

    pub(crate) fn base(&self) -> &Base {
        self.spec.base.as_ref().unwrap()
    }

    pub(crate) fn delta(&self) -> PathBuf {
        self.spec.delta.clone().unwrap()
    }

    pub(crate) fn open(&self) -> Stack {
        Stack::open(&self.spec).unwrap()
    }
}

/// A stack of a base and perhaps a delta.
pub(crate) fn over(base: Base, delta: Option<PathBuf>) -> StackSpec {
    StackSpec { base: Some(base), delta, ..StackSpec::default() }
}

/// Makes a base of `bytes`.
pub(crate) fn import(dir: &TempDir, name: &str, bytes: &[u8]) -> Base {
    let raw = dir.path().join(format!("{name}.raw"));
    std::fs::write(&raw, bytes).unwrap();
    let path = dir.path().join(name);
    let identity = base::import(&raw, &path, &mut |_, _| {}).unwrap();
    Base { path, identity }
}

/// Bytes of which no sector is like another.
pub(crate) fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at / 512 * 7 + at) as u8 ^ seed).collect()
}

/// The system's error number that `error` comes from.
pub(crate) fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.find_map(|error| error.downcast_ref::<std::io::Error>()?.raw_os_error())
}

/// Whether the tests may take many minutes.
pub(crate) fn long() -> bool {
    std::env::var("OFFSHOOT_TESTS").is_ok_and(|tests| tests == "long")
}

/// Waits until nothing is in flight.
pub(crate) fn drain(disk: &mut dyn Disk) -> Vec<Done> {
    let mut done = Vec::new();
    loop {
        disk.poll(&mut done).unwrap();
        if disk.in_flight() == 0 {
            return done;
        }
        if !wait_readable(disk.wakeup()) {
            poll(&mut [PollFd::new(&disk.wakeup(), PollFlags::IN)], None).unwrap();
        }
    }
}

/// Does `op`, alone, and returns its buffers' bytes.
pub(crate) fn run(disk: &mut dyn Disk, op: Op) -> Result<Vec<u8>> {
    disk.submit(op, Tag(1));
    let mut done = drain(disk);
    assert_eq!(done.len(), 1, "one operation, one answer");
    let Done { tag, result, buffers } = done.remove(0);
    assert_eq!(tag, Tag(1));
    result.map(|()| buffers.map(|buffers| buffers.to_vec()).unwrap_or_default())
}

pub(crate) fn read(disk: &mut dyn Disk, at: u64, len: usize) -> Result<Vec<u8>> {
    run(disk, Op::Read { at, into: Buffers::from_vec(vec![0xee; len]) })
}

pub(crate) fn write(disk: &mut dyn Disk, at: u64, bytes: &[u8]) -> Result<()> {
    run(disk, Op::Write { at, from: Buffers::from_vec(bytes.to_vec()) }).map(drop)
}

/// Opens a file for writing that was made read-only.
pub(crate) fn writable(path: &Path) -> File {
    std::fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}
