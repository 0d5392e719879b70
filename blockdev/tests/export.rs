//! Exports, judged by `qemu-img`.
//!
//! A program of its own, and one test at a time where a delta is opened: another program that is
//! just being started has our files open, locks included.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests fail by panicking, and make small numbers"
)]

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use blockdev::base::{self, Base};
use blockdev::copy::Raw;
use blockdev::export::{Existing, Format, export};
use blockdev::foreign::{self, Layer};
use blockdev::{Buffers, Engine, Op, Result, Stack, StackSpec, Tag, delta};
use tempfile::TempDir;

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn quiet(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Bytes of which no sector is like another.
fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at / 512 * 7 + at) as u8 ^ seed).collect()
}

fn import(dir: &TempDir, bytes: &[u8]) -> Base {
    let (raw, path) = (dir.path().join("base.raw"), dir.path().join("base"));
    fs::write(&raw, bytes).unwrap();
    let identity = base::import(&raw, &path, &mut |_, _| ()).unwrap();
    Base { path, identity }
}

/// A clone whose delta and base each have some of the data.
fn clone() -> (TempDir, Stack) {
    let dir = tempfile::tempdir().unwrap();
    let base = import(&dir, &pattern((3 << 20) + 700, 3));
    let path: PathBuf = dir.path().join("delta");
    let parent = delta::Parent::base(&base.identity).unwrap();
    delta::create(&path, 600 << 20, &parent).unwrap();
    let spec = StackSpec { base: Some(base), delta: Some(path), ..StackSpec::default() };
    let stack = Stack::open(&spec).unwrap();
    let mut disk = stack.disk(Engine::Sync).unwrap();
    let write = |at, bytes| Op::Write { at, from: Buffers::from_vec(bytes) };
    let ops = [
        write(1 << 20, vec![8; 5 * 4096]),
        write((600 << 20) - 512, vec![9; 512]),
        write(550 << 20, vec![7; 8192]),
        Op::Zero(0..128 << 10),
    ];
    let mut done = Vec::new();
    for op in ops {
        disk.submit(op, Tag(0));
        disk.poll(&mut done).unwrap();
        done.drain(..).for_each(|done| done.result.unwrap());
    }
    (dir, stack)
}

fn part(path: &Path, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fs::File::open(path).unwrap().read_exact_at(&mut bytes, at).unwrap();
    bytes
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
    let _alone = alone();
    let (dir, stack) = clone();
    let [raw, qcow2] = ["raw", "qcow2"].map(|name| dir.path().join(name));
    export_stack(&stack, &raw, Format::Raw).unwrap();
    export_stack(&stack, &qcow2, Format::Qcow2).unwrap();
    let mut expected = pattern((3 << 20) + 700, 3);
    expected.resize(4 << 20, 0);
    expected[1 << 20..(1 << 20) + 5 * 4096].fill(8);
    expected[..128 << 10].fill(0);
    assert!(part(&raw, 0, 4 << 20) == expected);
    assert_eq!(part(&raw, (550 << 20) - 1, 8194), [&[0][..], &[7; 8192], &[0]].concat());
    assert_eq!(part(&raw, (600 << 20) - 513, 513), [&[0][..], &[9; 512]].concat());
    assert_eq!(raw.metadata().unwrap().len(), 600 << 20);
    assert!(raw.metadata().unwrap().blocks() * 512 < 5 << 20);
    let [raw, path] = [&raw, &qcow2].map(|path| path.to_str().unwrap());
    qemu_img(&["check", "-f", "qcow2", path]);
    qemu_img(&["compare", "-f", "qcow2", "-F", "raw", path, raw]);
    assert!(qcow2.metadata().unwrap().len() < 5 << 20);
}

#[test]
fn a_delta_is_never_replaced() {
    let (dir, stack) = clone();
    let (delta, link) = (dir.path().join("delta"), dir.path().join("link"));
    let before = fs::read(&delta).unwrap();
    let mut source = stack.source().unwrap();
    let mut onto = |to: &Path| export(&mut *source, to, Format::Raw, Existing::Replace, &mut quiet);
    let error = onto(&delta).unwrap_err();
    assert!(error.to_string().contains("is a layer"), "{error}");
    fs::hard_link(&delta, &link).unwrap();
    onto(&link).unwrap_err();
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&delta, &link).unwrap();
    onto(&link).unwrap();
    assert!(fs::read(&delta).unwrap() == before, "a link is replaced, not what it leads to");
}

#[test]
fn the_same_disk_gives_the_same_qcow2_and_only_data_has_clusters() {
    let _alone = alone();
    let (dir, stack) = clone();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    for path in [&a, &b] {
        export_stack(&stack, path, Format::Qcow2).unwrap();
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
fn a_packed_qcow2_has_the_disks_bytes_in_fewer_and_is_sound() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let [raw, plain, packed, again] =
        ["raw", "plain", "packed", "again"].map(|name| dir.path().join(name));
    mixed(&raw);
    for (path, format) in
        [(&plain, Format::Qcow2), (&packed, Format::PackedQcow2), (&again, Format::PackedQcow2)]
    {
        let mut source = Raw::open(&raw).unwrap();
        export(&mut source, path, format, Existing::Keep, &mut quiet).unwrap();
    }
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    // It leaks and overlaps nothing: all counts are right.
    qemu_img(&["check", "-f", "qcow2", &text(&packed)]);
    qemu_img(&["compare", "-f", "qcow2", "-F", "raw", &text(&packed), &text(&raw)]);
    let length = |path: &Path| path.metadata().unwrap().len();
    assert!(length(&packed) < length(&plain) * 3 / 5, "{} {}", length(&packed), length(&plain));
    assert!(fs::read(&packed).unwrap() == fs::read(&again).unwrap());
    let layer = Layer { path: packed, format: Some(foreign::Format::Qcow2) };
    let mut read = foreign::open(&[layer]).unwrap();
    let back = dir.path().join("back");
    export(&mut *read, &back, Format::Raw, Existing::Keep, &mut quiet).unwrap();
    qemu_img(&["compare", "-f", "raw", "-F", "raw", &text(&back), &text(&raw)]);
}

/// More than one L2 table: clusters that pack well, badly and not at all, holes, and an odd end.
fn mixed(path: &Path) {
    let file = fs::File::create(path).unwrap();
    file.set_len((520 << 20) + 512).unwrap();
    let mut random = 1_u64;
    for number in (0..8320_usize).filter(|number| number % 97 < 5) {
        let mut cluster = vec![number as u8; 65536];
        let noise = cluster.len() * (number % 5) / 4;
        for byte in &mut cluster[..noise] {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (random >> 56) as u8;
        }
        file.write_all_at(&cluster, number as u64 * 65536).unwrap();
    }
    file.write_all_at(&[9; 512], 520 << 20).unwrap();
}

#[test]
fn an_empty_disk_and_an_odd_one_are_exported() {
    let _alone = alone();
    for len in [0, 1, 512, 65536 + 1] {
        let dir = tempfile::tempdir().unwrap();
        let base = import(&dir, &pattern(len, 1));
        let mut raw = Raw::open(&base.path).unwrap();
        let [flat, qcow2] = ["flat", "qcow2"].map(|name| dir.path().join(name));
        export(&mut raw, &flat, Format::Raw, Existing::Keep, &mut quiet).unwrap();
        assert_eq!(fs::read(&flat).unwrap(), pattern(len, 1));
        export(&mut raw, &qcow2, Format::Qcow2, Existing::Keep, &mut quiet).unwrap();
        let [flat, qcow2] = [&flat, &qcow2].map(|path| path.to_str().unwrap());
        qemu_img(&["check", "-f", "qcow2", qcow2]);
        qemu_img(&["compare", "-f", "qcow2", "-F", "raw", qcow2, flat]);
        let packed = dir.path().join("packed");
        export(&mut raw, &packed, Format::PackedQcow2, Existing::Keep, &mut quiet).unwrap();
        let packed = packed.to_str().unwrap();
        qemu_img(&["check", "-f", "qcow2", packed]);
        qemu_img(&["compare", "-f", "qcow2", "-F", "raw", packed, flat]);
    }
}
