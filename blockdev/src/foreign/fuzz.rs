//! What the fuzzer does to images of other programs.

use std::fs::File;
use std::io::Write;

use rustix::fs::{MemfdFlags, memfd_create};

use super::chain::{Chain, Image};
use super::{Format, Layer, image};
use crate::copy::{Raw, Source};
use crate::fuzz::LARGEST;
use crate::io::FileStorage;
use crate::{Extent, Result};

/// Extents looked at of each image, and bytes read of each extent: a packed cluster may be 2 MiB.
const LOOKS: usize = 64;
const PART: u64 = 20_000;

/// `bytes` are a qcow2 image, on something if it says so.
///
/// # Panics
/// There is a bug.
pub fn qcow2(bytes: &[u8]) -> bool {
    read(bytes, Format::Qcow2).is_ok()
}

/// `bytes` are a vmdk, on something if it says so.
///
/// # Panics
/// There is a bug.
pub fn vmdk(bytes: &[u8]) -> bool {
    read(bytes, Format::Vmdk).is_ok()
}

/// Extents without gaps, up to the disk's end; bytes that are the same however they are read, and
/// zeroes where an extent says so.
fn read(bytes: &[u8], format: Format) -> Result<()> {
    let mut images = vec![image(raw(bytes)?, format)?];
    if images[0].backing().is_some() {
        images.push(Box::new(raw(&[7; 5000])?) as Box<dyn Image>);
    }
    let layer = Layer { path: "in".into(), format: Some(format) };
    let mut disk = Chain::new(&vec![layer; images.len()], images)?;
    let (mut at, size) = (0, disk.size().min(LARGEST));
    for _ in 0..LOOKS {
        if at >= size {
            break;
        }
        let (extent, len) = disk.extent(at)?;
        assert!(len > 0, "an extent without bytes at {at}");
        let rest = disk.size() - at;
        look(&mut disk, at, len.min(rest), extent)?;
        at = at.checked_add(len).expect("an extent ends where numbers do");
    }
    Ok(())
}

/// Reads the start of the `len` bytes at `at`, at once and in two parts.
fn look(disk: &mut Chain, at: u64, len: u64, extent: Extent) -> Result<()> {
    let count = usize::try_from(len.min(PART)).expect("it is small");
    let (mut whole, mut parts) = (vec![1; count], vec![2; count]);
    let (first, second) = parts.split_at_mut(count / 3);
    disk.read(second, at + first.len() as u64)?;
    disk.read(first, at)?;
    disk.read(&mut whole, at)?;
    assert!(whole == parts, "bytes from {at} on are different when read again");
    assert!(extent == Extent::Data || whole.iter().all(|&byte| byte == 0), "no zeroes at {at}");
    Ok(())
}

/// A file that is in memory alone.
fn raw(bytes: &[u8]) -> Result<Raw> {
    let file = memfd_create("image", MemfdFlags::CLOEXEC).expect("a file in memory");
    let mut file = File::from(file);
    file.write_all(bytes).expect("a small file");
    Raw::new(FileStorage::new(file), "in".as_ref())
}

#[cfg(test)]
pub(crate) mod seeds;
