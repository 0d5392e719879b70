//! Images made by `qemu-img`, and read as it reads them.
//!
//! A program of its own: between the start of another program and its first instruction that has
//! our files open, locks included, and tests that open deltas again would find them in use.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests fail by panicking, and make small numbers"
)]

mod chains;
mod damage;

use std::path::Path;
use std::process::{Command, Output};

use blockdev::foreign::{Error, Format, Layer, open};
use blockdev::{Error as DiskError, ErrorKind, Extent, Result};
use tempfile::TempDir;

/// Runs one of QEMU's programs in `dir`.
fn qemu(dir: &Path, program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).current_dir(dir).output();
    output.unwrap_or_else(|error| panic!("{program} (Debian: qemu-utils) is needed: {error}"))
}

/// The same, where it must succeed.
#[track_caller]
fn qemu_img(dir: &Path, args: &[&str]) {
    let output = qemu(dir, "qemu-img", args);
    assert!(output.status.success(), "qemu-img {args:?}: {output:?}");
}

/// Writes to an image as a guest would.
#[track_caller]
fn qemu_io(dir: &Path, image: &str, commands: &[&str]) {
    let mut args = vec!["-f", "qcow2"];
    commands.iter().for_each(|command| args.extend(["-c", command]));
    args.push(image);
    let output = qemu(dir, "qemu-io", &args);
    assert!(output.status.success(), "qemu-io {args:?}: {output:?}");
}

/// What `qemu-img convert` makes of an image, following what is written in it.
fn converted(dir: &Path, format: Format, image: &str) -> Option<Vec<u8>> {
    let args = ["convert", "-f", &format.to_string(), "-O", "raw", image, "converted.raw"];
    let output = qemu(dir, "qemu-img", &args);
    output.status.success().then(|| std::fs::read(dir.join("converted.raw")).unwrap())
}

fn layer(dir: &Path, name: &str) -> Layer {
    Layer { path: dir.join(name), format: None }
}

fn layers(dir: &Path, names: &[&str]) -> Vec<Layer> {
    names.iter().map(|name| layer(dir, name)).collect()
}

/// All bytes of a disk, and how many of them are known to be zeroes without reading them.
fn read(layers: &[Layer]) -> Result<(Vec<u8>, u64)> {
    let mut source = open(layers)?;
    let (mut bytes, mut holes) = (Vec::new(), 0);
    while (bytes.len() as u64) < source.size() {
        let at = bytes.len();
        let (extent, len) = source.extent(at as u64)?;
        bytes.resize(at + len.min(source.size() - at as u64) as usize, 0);
        match extent {
            Extent::Data => source.read(&mut bytes[at..], at as u64)?,
            Extent::Zero => holes += len,
        }
    }
    Ok((bytes, holes))
}

/// A raw image with a hole in it, blocks of zeroes, bytes that compress and bytes that do not.
fn raw_image(dir: &TempDir, name: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let quarter = len / 4;
    let mut random = 1_u64;
    for byte in &mut bytes[..quarter] {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (random >> 56) as u8;
    }
    for (at, byte) in bytes[2 * quarter..3 * quarter].iter_mut().enumerate() {
        *byte = (at / 5000) as u8;
    }
    let last = len - 1;
    bytes[last] = 9;
    std::fs::write(dir.path().join(name), &bytes).unwrap();
    bytes
}
