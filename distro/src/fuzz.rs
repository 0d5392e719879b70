//! What a fuzzer does to a search. docs/testing.md, Fuzzing.

use std::io;
use std::rc::Rc;

use crate::bytes::{u32, u64};
use crate::find;

/// Searches any bytes as a disk, and copies what is found. Where there is a GPT its CRCs are made
/// right, so that its entries are read. Returns whether there was a system.
pub fn disk(input: &[u8]) -> bool {
    let mut disk = input.to_vec();
    sum(&mut disk);
    let found = find(Rc::new(disk));
    let printable = |text: &str| text.chars().all(|c| !c.is_control());
    assert!(found.notes.iter().all(|note| printable(note)), "{:?}", found.notes);
    let Some(system) = found.system else {
        assert!(!found.notes.is_empty(), "nothing was found, and nothing said");
        return false;
    };
    assert!(system.cmdline.len() < 2048 && printable(&system.cmdline), "{}", system.cmdline);
    assert!(printable(&system.name) && printable(&system.kernel.to_string()));
    // A file of the length that was found may still lie on damaged blocks.
    let _ = system.copy_kernel(&mut io::sink());
    let _ = system.copy_initrd(&mut io::sink());
    true
}

/// Makes the CRCs of a GPT's header and entries right.
fn sum(disk: &mut [u8]) {
    let header = disk.get(512..1024).unwrap_or_default().to_vec();
    if !header.starts_with(b"EFI PART") {
        return;
    }
    let len = |at| usize::try_from(u32(&header, at)).unwrap_or(usize::MAX);
    let start = usize::try_from(u64(&header, 72).saturating_mul(512)).unwrap_or(usize::MAX);
    let end = start.saturating_add(len(80).saturating_mul(len(84)));
    if let Some(entries) = disk.get(start..end) {
        let crc = crc32fast::hash(entries);
        disk[600..604].copy_from_slice(&crc.to_le_bytes());
    }
    disk[528..532].fill(0);
    if let Some(header) = disk.get(512..512usize.saturating_add(len(12))) {
        let crc = crc32fast::hash(header);
        disk[528..532].copy_from_slice(&crc.to_le_bytes());
    }
}

#[cfg(test)]
mod tests;
