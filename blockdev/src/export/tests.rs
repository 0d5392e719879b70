//! What is in the way of an export, and what is left of one that fails.

use std::fs;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::*;
use crate::testing;

fn quiet(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn names(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_file_is_only_replaced_on_request_and_then_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let base = testing::import(&dir, "base", b"image");
    let mut raw = crate::copy::Raw::open(&base.path).unwrap();
    let to = dir.path().join("to");
    fs::write(&to, "precious").unwrap();
    let before = names(dir.path()).len();
    let error = export(&mut raw, &to, Format::Raw, Existing::Keep, &mut quiet).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Exists);
    let stop = &mut |_, _| ControlFlow::Break(());
    let error = export(&mut raw, &to, Format::Raw, Existing::Replace, stop).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Interrupted);
    assert_eq!(fs::read(&to).unwrap(), b"precious");
    assert_eq!(names(dir.path()).len(), before, "nothing half-made is left");
    export(&mut raw, &to, Format::Raw, Existing::Replace, &mut quiet).unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"image");
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let error = export(&mut raw, &folder, Format::Raw, Existing::Replace, &mut quiet).unwrap_err();
    assert!(matches!(error, Error::NotAFile { .. }), "{error}");
}

#[test]
fn a_file_that_appears_meanwhile_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let base = testing::import(&dir, "base", b"image");
    let mut raw = crate::copy::Raw::open(&base.path).unwrap();
    let to = dir.path().join("to");
    let mut appear = |_, _| {
        fs::write(&to, "precious").unwrap();
        ControlFlow::Continue(())
    };
    let error = export(&mut raw, &to, Format::Raw, Existing::Keep, &mut appear).unwrap_err();
    assert!(
        matches!(&error, Error::Create { source, .. } if source.kind() == ErrorKind::AlreadyExists)
    );
    assert_eq!(fs::read(&to).unwrap(), b"precious");
}
