//! A small FAT12 filesystem, made by hand.

use std::rc::Rc;

use super::*;
use crate::files::Tree;

/// Sectors: the first one, the FAT, the root folder, clusters of one sector.
const FAT: usize = 512;
const ROOT: usize = 1024;
const DATA: usize = 1536;

/// 64 KiB with two folders' worth of files.
pub(crate) fn image() -> Vec<u8> {
    let mut disk = vec![0; 64 << 10];
    put(&mut disk, 11, &512u16.to_le_bytes());
    put(&mut disk, 13, &[1, 1, 0, 1, 16, 0, 128, 0, 0xf8, 1, 0]);
    put(&mut disk, 0x36, b"FAT12   ");
    put(&mut disk, 510, &[0x55, 0xaa]);
    // Cluster 2 goes on in 4, and there ends; 3 and 5 end; 6 is followed by itself.
    for (cluster, next) in [(2, 4), (3, 0xfff), (4, 0xfff), (5, 0xfff), (6, 6)] {
        link(&mut disk, cluster, next);
    }
    entry(&mut disk, ROOT, b"LOADER     ", 0x10, 3, 0);
    long_name(&mut disk, ROOT + 32, "vmlinuz-linux");
    entry(&mut disk, ROOT + 64, b"VMLINU~1   ", 0, 2, 600);
    entry(&mut disk, ROOT + 96, b"LABEL      ", 0x08, 0, 0);
    entry(&mut disk, ROOT + 128, b"CIRCLE  IMG", 0, 6, 1 << 30);
    entry(&mut disk, ROOT + 160, b"SHORT   IMG", 0, 3, 5000);
    entry(&mut disk, DATA + 512, b"A       TXT", 0, 5, 2);
    put(&mut disk, DATA, &[1; 512]);
    put(&mut disk, DATA + 1024, &[2; 512]);
    put(&mut disk, DATA + 1536, b"hi");
    disk
}

fn put(disk: &mut [u8], at: usize, bytes: &[u8]) {
    disk[at..at + bytes.len()].copy_from_slice(bytes);
}

fn link(disk: &mut [u8], cluster: usize, next: u16) {
    let at = FAT + cluster * 3 / 2;
    let shift = if cluster.is_multiple_of(2) { 0 } else { 4 };
    let pair = u16(disk, at) | next << shift;
    put(disk, at, &pair.to_le_bytes());
}

fn entry(disk: &mut [u8], at: usize, name: &[u8; 11], attributes: u8, cluster: u16, len: u32) {
    put(disk, at, name);
    put(disk, at + 11, &[attributes]);
    put(disk, at + 26, &cluster.to_le_bytes());
    put(disk, at + 28, &len.to_le_bytes());
}

fn long_name(disk: &mut [u8], at: usize, name: &str) {
    let letters: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    put(disk, at, &[0x41]);
    put(disk, at + 1, &letters[..10]);
    put(disk, at + 11, &[0x0f]);
    put(disk, at + 14, &letters[10..22]);
    put(disk, at + 28, &letters[22..]);
}

fn tree(disk: Vec<u8>) -> Tree {
    Tree::new(Fat::open(&Window::whole(Rc::new(disk))).expect("it is one"))
}

#[test]
fn files_are_read_by_long_and_short_names() {
    let tree = tree(image());
    let names = ["circle.img", "loader", "short.img", "vmlinuz-linux"];
    assert_eq!(tree.names("").expect("it can be read"), names);
    let mut kernel = Vec::new();
    tree.copy("/VMLINUZ-linux", 600, &mut kernel).expect("it is whole");
    assert_eq!(kernel, [[1; 512].as_slice(), &[2; 88]].concat());
    assert_eq!(tree.text("/loader/a.txt").expect("it can be read").as_deref(), Some("hi"));
    assert_eq!(tree.file("/loader/a.txt/b").expect("it can be read"), None);
}

#[test]
fn chain_that_ends_early_or_never_is_an_error() {
    let tree = tree(image());
    let mut copy = Vec::new();
    tree.copy("/short.img", 5000, &mut copy).expect_err("it has one cluster");
    tree.copy("/circle.img", 4096, &mut copy).expect_err("it says it is larger");
}

#[test]
fn first_sector_that_does_not_add_up_is_refused() {
    for (at, value) in [(11, 3), (12, 0), (13, 0), (13, 3), (18, 255)] {
        let mut disk = image();
        disk[at] = value;
        assert!(Fat::open(&Window::whole(Rc::new(disk))).is_err(), "{at} {value}");
    }
}
