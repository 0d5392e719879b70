//! Exports, judged by `qemu-img`.

use std::fs;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::testing::{self, pattern, run, write};
use crate::{Engine, Op, Stack};

fn quiet(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A clone whose delta and base each have some of the data.
fn clone() -> testing::Clone {
    let clone = testing::Clone::new(&pattern((3 << 20) + 700, 3), 600 << 20);
    let stack = clone.open();
    let mut disk = stack.disk(Engine::Sync).unwrap();
    write(&mut *disk, 1 << 20, &[8; 5 * 4096]).unwrap();
    write(&mut *disk, (600 << 20) - 512, &[9; 512]).unwrap();
    write(&mut *disk, 550 << 20, &[7; 8192]).unwrap();
    run(&mut *disk, Op::Zero(0..128 << 10)).unwrap();
    stack.flush().unwrap();
    clone
}

fn export_stack(stack: &Stack, to: &Path, format: Format) -> Result<()> {
    export(&mut *stack.source()?, to, format, Existing::Keep, &mut quiet)
}

#[track_caller]
fn qemu_img(args: &[&str]) -> String {
    let output = Command::new("qemu-img").args(args).output();
    let output = output.expect("qemu-img is here (Debian: qemu-utils)");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn both_formats_have_the_disks_bytes_and_nothing_more() {
    let clone = clone();
    let stack = clone.open();
    let [raw, qcow2] = ["raw", "qcow2"].map(|name| clone.dir.path().join(name));
    export_stack(&stack, &raw, Format::Raw).unwrap();
    export_stack(&stack, &qcow2, Format::Qcow2).unwrap();
    let mut expected = pattern((3 << 20) + 700, 3);
    expected.resize(600 << 20, 0);
    expected[1 << 20..(1 << 20) + 5 * 4096].fill(8);
    expected[(600 << 20) - 512..].fill(9);
    expected[550 << 20..(550 << 20) + 8192].fill(7);
    expected[..128 << 10].fill(0);
    assert!(fs::read(&raw).unwrap() == expected);
    assert!(raw.metadata().unwrap().blocks() * 512 < 5 << 20);
    let [raw, path] = [&raw, &qcow2].map(|path| path.to_str().unwrap());
    qemu_img(&["check", "-f", "qcow2", path]);
    qemu_img(&["compare", "-f", "qcow2", "-F", "raw", path, raw]);
    assert!(qcow2.metadata().unwrap().len() < 5 << 20);
}

#[test]
fn the_same_disk_gives_the_same_qcow2_and_only_data_has_clusters() {
    let clone = clone();
    let [a, b] = ["a", "b"].map(|name| clone.dir.path().join(name));
    for path in [&a, &b] {
        export_stack(&clone.open(), path, Format::Qcow2).unwrap();
    }
    assert!(fs::read(&a).unwrap() == fs::read(&b).unwrap());
    let map = qemu_img(&["map", "-f", "qcow2", "--output=json", a.to_str().unwrap()]);
    let map: serde_json::Value = serde_json::from_str(&map).unwrap();
    let data = map.as_array().unwrap().iter().filter(|part| part["data"] == true);
    let data: u64 = data.map(|part| part["length"].as_u64().unwrap()).sum();
    // 3 MiB and a bit, less the two clusters zeroed; one in the middle and one at the end.
    assert_eq!(data, (3 << 20) + (64 << 10) - (128 << 10) + (64 << 10) + (64 << 10));
}

#[test]
fn an_empty_disk_and_an_odd_one_are_exported() {
    for len in [0, 1, 512, 65536 + 1] {
        let dir = tempfile::tempdir().unwrap();
        let base = testing::import(&dir, "base", &pattern(len, 1));
        let mut raw = crate::copy::Raw::open(&base.path).unwrap();
        let [flat, qcow2] = ["flat", "qcow2"].map(|name| dir.path().join(name));
        export(&mut raw, &flat, Format::Raw, Existing::Keep, &mut quiet).unwrap();
        assert_eq!(fs::read(&flat).unwrap(), pattern(len, 1));
        export(&mut raw, &qcow2, Format::Qcow2, Existing::Keep, &mut quiet).unwrap();
        let [flat, qcow2] = [&flat, &qcow2].map(|path| path.to_str().unwrap());
        qemu_img(&["check", "-f", "qcow2", qcow2]);
        qemu_img(&["compare", "-f", "qcow2", "-F", "raw", qcow2, flat]);
    }
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
