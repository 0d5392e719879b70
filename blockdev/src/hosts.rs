//! The engine on the filesystems people have: what it asks of each, and its tests that use files.

#[path = "../../tests/common/filesystem.rs"]
mod filesystem;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{copy_file_range, fstatvfs, ioctl_ficlone};
use tempfile::TempDir;

use crate::io::{FileStorage, Storage};
use filesystem::run_again_on;

/// Those that use files: models, operations on layers, concurrency, damage.
const FILTERS: [&str; 7] =
    ["base::", "copy::", "delta::tests::live", "ops::", "owners::", "stack::", "hosts::its_"];
/// This itself, and one that knows which holes ext4 tells of: others may call more of a file data.
const SKIP: [&str; 2] = ["hosts::all_", "written_blocks_are_data_and_all_else_is_zero"];

const MIB: u64 = 1 << 20;

#[test]
fn all_that_uses_files_works_on_ext4() {
    run_again_on("ext4", &FILTERS, &SKIP);
}

#[test]
fn all_that_uses_files_works_on_xfs() {
    run_again_on("xfs", &FILTERS, &SKIP);
}

#[test]
fn all_that_uses_files_works_on_btrfs() {
    run_again_on("btrfs", &FILTERS, &SKIP);
}

#[test]
fn all_that_uses_files_works_on_tmpfs() {
    run_again_on("tmpfs", &FILTERS, &SKIP);
}

/// A synced file of so many bytes, no two blocks alike.
fn file(dir: &TempDir, name: &str, len: u64) -> File {
    let path = dir.path().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    let bytes: Vec<u8> =
        (0..len / 8).flat_map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    file.write_all_at(&bytes, 0).unwrap();
    file.sync_all().unwrap();
    file
}

fn bytes_on_disk(file: &File) -> u64 {
    file.sync_all().unwrap();
    file.metadata().unwrap().blocks() * 512
}

#[test]
fn its_filesystem_gives_back_what_is_punched_and_tells_where_data_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(&dir, "file", MIB);
    let before = bytes_on_disk(&file);
    let storage = FileStorage::new(file.try_clone().unwrap());
    storage.punch_hole(MIB / 4..MIB / 2).unwrap();
    storage.set_len(64 * MIB).unwrap();
    assert!(bytes_on_disk(&file) + MIB / 4 <= before);
    assert_eq!(storage.next_data(0).unwrap(), Some(0..MIB / 4));
    assert_eq!(storage.next_data(MIB / 4).unwrap(), Some(MIB / 2..MIB));
    assert_eq!(storage.next_data(MIB).unwrap(), None);
    let mut hole = vec![1; 4096];
    file.read_exact_at(&mut hole, MIB / 4).unwrap();
    assert_eq!(hole, [0; 4096]);
}

#[test]
fn its_filesystem_shares_what_is_copied_where_it_can() {
    const LEN: u64 = 8 * MIB;
    let shares = match filesystem::kind().as_deref() {
        Some("xfs" | "btrfs") => true,
        Some(_) => false,
        // Whatever this is.
        None => return,
    };
    let dir = tempfile::tempdir().unwrap();
    let from = file(&dir, "from", LEN);
    let to = File::create_new(dir.path().join("to")).unwrap();
    let free = || {
        rustix::fs::sync();
        let found = fstatvfs(&from).unwrap();
        found.f_bfree * found.f_frsize
    };
    let before = free();
    let (mut at, mut into) = (0, 0);
    while at < LEN {
        let left = usize::try_from(LEN - at).unwrap();
        assert!(copy_file_range(&from, Some(&mut at), &to, Some(&mut into), left).unwrap() > 0);
    }
    let taken = before.saturating_sub(free());
    assert_eq!(taken < LEN / 2, shares, "{taken} bytes for a copy of {LEN}");
    let clone = File::create_new(dir.path().join("clone")).unwrap();
    assert_eq!(ioctl_ficlone(&clone, &from).is_ok(), shares);
}
