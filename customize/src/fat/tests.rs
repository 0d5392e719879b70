//! Images read back by the usual tools: mtools, fsck.fat, blkid.

use std::path::Path;
use std::process::{Command, Output};

use super::*;

/// Runs a tool of those tests/run installs; `None` where it is missing and may be.
fn tool(program: &str, args: &[&str], image: &Path) -> Option<Output> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    match Command::new(program).args(args).arg(image).env("PATH", path).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("NOT TESTED: an image as {program} sees it: {error}");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI needs {program}");
            None
        }
    }
}

/// Whether all tools find these files in their image, and nothing else.
#[track_caller]
fn check(files: &[File<'_>]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("image");
    let bytes = image("CIDATA", 0x1234_abcd, files).expect("an image");
    std::fs::write(&path, &bytes).expect("written");
    if let Some(output) = tool("fsck.fat", &["-n", "-v"], &path) {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    }
    if let Some(output) = tool("blkid", &["-p", "-o", "export"], &path) {
        let text = String::from_utf8_lossy(&output.stdout);
        for line in ["LABEL=CIDATA", "UUID=1234-ABCD", "TYPE=vfat", "VERSION=FAT12"] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
    }
    if let Some(output) = tool("mdir", &["-b", "-i"], &path) {
        let text = String::from_utf8_lossy(&output.stdout);
        let found: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("::/")).collect();
        let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
        assert_eq!(found, names, "{}", String::from_utf8_lossy(&output.stderr));
    }
    for (name, bytes) in files {
        let copied = folder.path().join("copied");
        let copy = format!("::{name}");
        let mut mcopy = Command::new("mcopy");
        mcopy.args(["-n", "-o", "-i"]).arg(&path).arg(copy).arg(&copied);
        if mcopy.status().is_ok_and(|status| status.success()) {
            assert!(std::fs::read(&copied).expect("a copy") == *bytes, "{name} differs");
        } else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "mcopy finds no {name}");
        }
    }
}

#[test]
fn tools_find_the_files_that_were_put_in() {
    check(&[]);
    check(&[
        ("meta-data", b"{}"),
        ("user-data", b"#cloud-config\n{}\n"),
        ("network-config", b"{}"),
    ]);
}

#[test]
fn any_number_of_clusters_up_to_the_largest_is_read_back() {
    let bytes: Vec<u8> = (0_u32..5_000_000).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    for size in [0, 1, 511, 512, 513, 170 * 512, 2_000_000, 5_000_000] {
        check(&[("before", b"x"), ("a-name-of-26-characters.txt", &bytes[..size]), ("z", b"z")]);
    }
}

#[test]
fn what_makes_fat12_too_small_is_no_image() {
    let large = vec![0; 128 << 20];
    assert!(image("CIDATA", 0, &[("large", &large)]).is_none());
    let most = &large[..16 << 20];
    assert!(image("CIDATA", 0, &[("large", most)]).is_some());
}

#[test]
fn the_same_files_make_the_same_bytes_and_whole_sectors() {
    let files: [File<'_>; 1] = [("user-data", &[7; 1000])];
    let first = image("CIDATA", 1, &files).expect("an image");
    assert_eq!(image("CIDATA", 1, &files).as_ref(), Some(&first));
    assert_eq!(first.len() % SECTOR, 0);
    assert!(first.len() < 16 << 10, "{} bytes", first.len());
}
