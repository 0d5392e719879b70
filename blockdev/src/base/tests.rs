//! Importing, digests, and what is refused.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};

use tempfile::tempdir;

use super::*;
use crate::testing::{pattern, writable};
use crate::{Engine, ErrorKind, Stack, delta, testing};

fn quiet(_: u64, _: u64) {}

#[test]
fn an_import_has_the_bytes_and_digest_of_its_source() {
    for len in [0, 1, 511, 4096, 2 << 20, (3 << 20) + 77] {
        let dir = tempdir().unwrap();
        let (raw, to) = (dir.path().join("raw"), dir.path().join("base"));
        let bytes = pattern(len, 5);
        fs::write(&raw, &bytes).unwrap();
        let mut told = Vec::new();
        let identity = import(&raw, &to, &mut |done, all| told.push((done, all))).unwrap();
        assert_eq!(identity.digest, blake3::hash(&bytes).to_hex().to_string());
        assert_eq!(identity.size, len as u64);
        assert_eq!(fs::read(&to).unwrap(), bytes);
        assert_eq!(to.metadata().unwrap().permissions().mode() & 0o777, 0o444);
        assert!(told.is_sorted() && told.iter().all(|told| told.1 == len as u64));
        assert_eq!(told.last().map_or(0, |told| told.0), len as u64);
        assert_eq!(digest(&to, &mut quiet).unwrap(), identity.digest);
        let base = Base { path: to, identity };
        OpenBase::open(&base).unwrap();
        assert_eq!(verify(&base, &mut quiet).unwrap(), base.identity);
    }
}

#[test]
fn holes_stay_holes() {
    let dir = tempdir().unwrap();
    let (raw, to) = (dir.path().join("raw"), dir.path().join("base"));
    let file = File::create(&raw).unwrap();
    file.set_len(256 << 20).unwrap();
    file.write_all_at(&[0; 1 << 20], 8 << 20).unwrap();
    file.write_all_at(&[1; 4096], 100 << 20).unwrap();
    let identity = import(&raw, &to, &mut quiet).unwrap();
    // A filesystem that shares blocks has those of the source, zeroes and all.
    let [source, copy] = [&raw, &to].map(|path| path.metadata().unwrap().blocks());
    assert!(copy <= source, "{copy} sectors, the source has {source}");
    let mut hasher = blake3::Hasher::new();
    hasher.update(&vec![0; 100 << 20]).update(&[1; 4096]);
    hasher.update(&vec![0; (156 << 20) - 4096]);
    assert_eq!(identity.digest, hasher.finalize().to_hex().to_string());
    assert_eq!(digest(&to, &mut quiet).unwrap(), identity.digest);
}

#[test]
fn a_clone_of_an_empty_base_is_all_zeroes() {
    let clone = testing::Clone::new(b"", 1024);
    let mut disk = clone.open().disk(Engine::Sync).unwrap();
    assert_eq!(testing::read(&mut *disk, 0, 1024).unwrap(), [0; 1024]);
}

#[test]
fn what_cannot_be_imported_leaves_nothing_behind() {
    let dir = tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let refused = || import(&from, &to, &mut quiet).unwrap_err();
    assert_eq!(refused().kind(), ErrorKind::NotFound);
    fs::create_dir(&from).unwrap();
    assert!(matches!(refused(), Error::NotAFile { .. }));
    fs::remove_dir(&from).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &from, fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(refused(), Error::NotAFile { .. }));
    fs::remove_file(&from).unwrap();
    assert!(!to.exists());
}

/// A few bytes that say they are a disk of 64 TiB.
struct Bomb;

impl crate::copy::Source for Bomb {
    fn size(&self) -> u64 {
        64 << 40
    }

    fn extent(&mut self, _: u64) -> crate::Result<(crate::Extent, u64)> {
        panic!("it is copied");
    }

    fn read(&mut self, _: &mut [u8], _: u64) -> crate::Result<()> {
        panic!("it is read");
    }

    fn unpacked(&self) -> u64 {
        u64::MAX
    }
}

#[test]
fn what_unpacks_to_more_than_there_is_room_for_is_refused_at_once() {
    let dir = tempdir().unwrap();
    let to = dir.path().join("to");
    let go_on = &mut |_, _| std::ops::ControlFlow::Continue(());
    let error = import_from(Box::new(Bomb), &to, go_on).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.to_string().contains("18446744073709551615 bytes"), "{error}");
    assert!(!to.exists());
}

#[test]
fn an_import_never_replaces_a_file_and_follows_a_link_to_its_source() {
    let dir = tempdir().unwrap();
    let (raw, link, to) = (dir.path().join("raw"), dir.path().join("link"), dir.path().join("to"));
    fs::write(&raw, b"image").unwrap();
    fs::write(&to, b"precious").unwrap();
    symlink(&raw, &link).unwrap();
    assert_eq!(import(&link, &to, &mut quiet).unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(fs::read(&to).unwrap(), b"precious");
    fs::remove_file(&to).unwrap();
    import(&link, &to, &mut quiet).unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"image");
}

#[test]
fn verifying_finds_another_content_whatever_the_times_say() {
    let dir = tempdir().unwrap();
    let base = testing::import(&dir, "base", &pattern(10_000, 1));
    let modified = base.path.metadata().unwrap().modified().unwrap();
    let file = writable(&base.path);
    file.write_all_at(&[0xff], 5000).unwrap();
    file.set_modified(modified).unwrap();
    OpenBase::open(&base).expect("the cheap check cannot see it");
    let error = verify(&base, &mut quiet).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert!(error.to_string().contains(&base.identity.digest), "{error}");
}

#[test]
fn verifying_a_faithful_copy_tells_its_new_identity() {
    let dir = tempdir().unwrap();
    let mut base = testing::import(&dir, "base", &pattern(10_000, 1));
    let path = dir.path().join("delta");
    delta::create(&path, 10_240, &delta::Parent::base(&base.identity).unwrap()).unwrap();
    let copy = dir.path().join("copy");
    fs::copy(&base.path, &copy).unwrap();
    base.path = copy;
    let spec = testing::over(base.clone(), Some(path.clone()));
    assert_eq!(Stack::open(&spec).unwrap_err().kind(), ErrorKind::Integrity);
    base.identity = verify(&base, &mut quiet).unwrap();
    Stack::open(&crate::testing::over(base, Some(path))).unwrap();
}
