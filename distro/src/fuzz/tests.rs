//! The search over damaged and hostile disks, without a fuzzer.

use std::fs;
use std::process::Command;

use blockdev::fuzz::driver::{drive, folder};

use super::disk;
use crate::files::fat;

#[test]
fn no_disk_ends_the_search_with_a_panic() {
    let long = std::env::var("OFFSHOOT_TESTS").as_deref() == Ok("long");
    drive("disk", if long { 1_000_000 } else { 10_000 }, disk);
}

/// A GPT with one partition, the FAT filesystem of the tests.
fn gpt() -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    bytes[0x1be + 4] = 0xee;
    bytes[0x1be + 8] = 1;
    bytes[0x1be + 12] = 100;
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    let numbers = [(512 + 12, 92), (512 + 72, 2), (512 + 80, 2), (512 + 84, 128)];
    for (at, number) in numbers.into_iter().chain([(1024 + 32, 4), (1024 + 40, 100)]) {
        bytes[at] = number;
    }
    bytes[512..520].copy_from_slice(b"EFI PART");
    bytes[1024..1040].fill(1);
    let mut fat = fat::tests::image();
    fat.truncate(60 << 10);
    bytes.extend(fat);
    bytes
}

/// A whole ext4 filesystem with a kernel, with checksums or without.
fn ext4(features: &str) -> Vec<u8> {
    let place = tempfile::tempdir().expect("a directory");
    let tree = place.path().join("tree");
    let files = [
        ("etc/os-release", "PRETTY_NAME=\"Small Linux\"\n"),
        ("etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n"),
        ("etc/default/grub", "GRUB_CMDLINE_LINUX=\"quiet splash\"\n"),
        ("boot/vmlinuz-6.1.0-9", "kernel"),
        ("boot/vmlinuz-6.1.0-18", "newer kernel"),
        ("boot/initrd.img-6.1.0-18", "ramdisk"),
    ];
    for (path, text) in files {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
        fs::write(path, text).expect("written");
    }
    std::os::unix::fs::symlink("boot/vmlinuz-6.1.0-18", tree.join("vmlinuz")).expect("a link");
    let image = place.path().join("image");
    // mkfs.ext4 reads back what it has not written yet.
    fs::File::create(&image).and_then(|file| file.set_len(64 << 10)).expect("a file");
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-b", "1024", "-N", "32", "-I", "256", "-m", "0", "-O", features, "-d"]);
    let made = mkfs.arg(&tree).arg(&image).arg("64k").status().expect("e2fsprogs is here");
    assert!(made.success());
    fs::read(image).expect("it was made")
}

#[test]
#[ignore = "it writes the recorded inputs: after a change of the body only"]
fn seeds_are_written() {
    let folder = folder("disk");
    fs::create_dir_all(&folder).expect("a folder");
    let seeds = [
        ("gpt-fat", gpt()),
        ("ext4", ext4("^has_journal,^resize_inode,^metadata_csum,^dir_index")),
        ("ext4-sums", ext4("^has_journal,^resize_inode,metadata_csum,64bit")),
    ];
    for (name, bytes) in seeds {
        assert!(disk(&bytes), "{name} is a system");
        fs::write(folder.join(name), bytes).expect("written");
    }
}
