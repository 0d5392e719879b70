//! Images that lie. Each is refused, or read as `qemu-img` reads it; never more than that.

use std::fs;
use std::os::unix::fs::FileExt;

use super::*;

/// Of an L2 table: the entries that are used, and some that are not.
const SOME: usize = 24 * 8;

/// A small image with data, zeroes and a compressed cluster, all tables within a few clusters.
fn small(options: &str) -> (TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let options = format!("cluster_size=512,{options}");
    qemu_img(dir.path(), &["create", "-f", "qcow2", "-o", &options, "image", "48k"]);
    let commands = ["write -P 1 0 1k", "write -P 2 5k 512", "write -c -P 3 6k 512"];
    qemu_io(dir.path(), "image", &commands);
    if options.contains("1.1") {
        qemu_io(dir.path(), "image", &["write -z 40k 4k"]);
    }
    let bytes = fs::read(dir.path().join("image")).unwrap();
    (dir, bytes)
}

fn number(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
}

/// Where header, L1 table and L2 tables are.
fn metadata(bytes: &[u8]) -> Vec<usize> {
    let l1 = number(bytes, 40);
    let mut places: Vec<usize> = (0..112).chain(l1..l1 + 16).collect();
    for table in [l1, l1 + 8].map(|at| number(bytes, at) & 0x00ff_ffff_ffff_fe00) {
        if table != 0 {
            places.extend(table..table + SOME);
        }
    }
    places
}

/// Reads what `write` made of the image. What is read otherwise than before must be what
/// `qemu-img convert` reads; it is asked for one in `every`.
fn try_all(
    dir: &TempDir,
    format: Format,
    good: &[u8],
    every: usize,
    changed: impl Iterator<Item = Vec<u8>>,
) {
    let path = dir.path().join("bad");
    let images = [Layer { path: path.clone(), format: Some(format) }];
    fs::write(&path, good).unwrap();
    let expected = read(&images).unwrap().0;
    let (mut refused, mut differ) = (0, 0);
    for bytes in changed {
        fs::write(&path, &bytes).unwrap();
        match read(&images) {
            Err(_) => refused += 1,
            Ok((found, _)) if found == expected => {}
            Ok((found, _)) => {
                differ += 1;
                if differ % every == 0 {
                    let place = (0..good.len()).find(|&at| bytes.get(at) != Some(&good[at]));
                    let theirs = converted(dir.path(), format, "bad");
                    assert!(theirs == Some(found), "byte {place:?}, qemu: {}", theirs.is_some());
                }
            }
        }
    }
    assert!(refused > 0, "nothing was found wrong");
}

#[test]
fn a_flipped_bit_is_refused_or_read_as_qemu_reads_it() {
    for options in ["compat=0.10", "compat=1.1"] {
        let (dir, good) = small(options);
        let flips = metadata(&good).into_iter().flat_map(|at| (0..8).map(move |bit| (at, bit)));
        let changed = flips.map(|(at, bit)| {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            bytes
        });
        try_all(&dir, Format::Qcow2, &good, 32, changed);
    }
}

#[test]
fn a_truncated_image_is_refused_or_read_as_qemu_reads_it() {
    let (dir, good) = small("compat=1.1");
    let changed = (0..good.len()).step_by(100).map(|len| good[..len].to_vec());
    try_all(&dir, Format::Qcow2, &good, 1, changed);
}

/// The image with `bytes` at `at`.
fn patched(at: u64, bytes: &[u8]) -> Result<(Vec<u8>, u64)> {
    let (dir, _) = small("compat=1.1");
    let path = dir.path().join("image");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(bytes, at).unwrap();
    read(&layers(dir.path(), &["image"]))
}

#[test]
fn features_that_are_not_read_are_named() {
    for (bits, word) in [(1_u64, "cleanly"), (2, "corrupt"), (4, "another file"), (1 << 40, "0x1")]
    {
        let error = patched(72, &bits.to_be_bytes()).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
    let error = patched(32, &2_u32.to_be_bytes()).unwrap_err();
    assert!(error.to_string().contains("encrypted"), "{error}");
    let error = patched(4, &9_u32.to_be_bytes()).unwrap_err();
    assert!(error.to_string().contains("version 9"), "{error}");
}

#[test]
fn sizes_that_lie_are_refused_at_once() {
    for size in [u64::MAX, 1 << 62, (1 << 46) + 512, 1 << 46, 1 << 30] {
        let error = patched(24, &size.to_be_bytes()).unwrap_err();
        assert!(error.to_string().contains("TiB") || error.to_string().contains("L1"), "{error}");
    }
    // An L1 table of 4 billion entries is not read; of those that count there are two.
    assert!(patched(36, &u32::MAX.to_be_bytes()).is_err());
    assert!(patched(40, &(1_u64 << 55).to_be_bytes()).is_err());
    assert!(patched(20, &63_u32.to_be_bytes()).is_err());
    assert!(patched(8, &(1_u64 << 50).to_be_bytes()).is_err());
}

#[test]
fn a_small_file_cannot_claim_to_be_full_of_data() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bomb");
    qemu_img(dir.path(), &["create", "-f", "qcow2", "-o", "cluster_size=64k", "bomb", "1T"]);
    qemu_io(dir.path(), "bomb", &["write -c -P 1 0 64k"]);
    let bytes = fs::read(&path).unwrap();
    let l1 = number(&bytes, 40);
    let table = number(&bytes, l1) & 0x00ff_ffff_ffff_fe00;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let is_refused = || {
        let error = read(&layers(dir.path(), &["bomb"])).unwrap_err();
        assert!(error.to_string().contains("overlap"), "{error}");
    };
    // Half a gigabyte by 8192 uses of the compressed cluster in one table.
    file.write_all_at(&bytes[table..table + 8].repeat(8192), table as u64).unwrap();
    is_refused();
    // All of the disk by 2048 uses of a table.
    file.write_all_at(&bytes[table..table + 65536], table as u64).unwrap();
    file.write_all_at(&bytes[l1..l1 + 8].repeat(2048), l1 as u64).unwrap();
    is_refused();
    // The same in a file of terabytes, which are holes.
    file.set_len(4 << 40).unwrap();
    is_refused();
    // And by as many uses of a cluster that is not packed.
    let cluster = 1_u64 << 63 | l1 as u64;
    file.write_all_at(&cluster.to_be_bytes().repeat(8192), table as u64).unwrap();
    is_refused();
}

/// How many extents the disk has; none of their bytes are read.
fn extents(names: &[&str], dir: &Path) -> usize {
    let mut source = open(&layers(dir, names)).unwrap();
    let (mut at, mut count) = (0, 0);
    while at < source.size() {
        at += source.extent(at).unwrap().1;
        count += 1;
    }
    count
}

/// Makes an image and returns where its L1 table is and its first L2 table, for which it has one
/// cluster of data.
fn with_table(dir: &Path, name: &str, options: &str, size: &str) -> (fs::File, u64, u64) {
    qemu_img(dir, &["create", "-f", "qcow2", "-o", options, name, size]);
    qemu_io(dir, name, &["write 0 512"]);
    let file = fs::OpenOptions::new().read(true).write(true).open(dir.join(name)).unwrap();
    let number = |at| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_be_bytes(bytes) & 0x00ff_ffff_ffff_fe00
    };
    let l1 = number(40);
    let table = number(l1);
    (file, l1, table)
}

/// It would take minutes, were each looked through.
#[test]
fn tables_in_holes_cost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = "cluster_size=16k,extended_l2=on";
    let (file, l1, _) = with_table(dir.path(), "image", options, "4T");
    let end = file.metadata().unwrap().len().next_multiple_of(16 << 10);
    file.set_len(end + (16 << 10)).unwrap();
    file.write_all_at(&(1 << 63 | end).to_be_bytes().repeat((4 << 40) >> 24), l1).unwrap();
    assert_eq!(extents(&["image"], dir.path()), (4 << 40) >> 24);
}

/// It would take minutes, were the run above looked through for each cluster below.
#[test]
fn a_long_run_above_many_short_ones_is_looked_for_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = "cluster_size=2M";
    let (below, _, table) = with_table(dir.path(), "below", options, "512G");
    let entries = [0_u64, 1].map(u64::to_be_bytes).concat();
    below.write_all_at(&entries.repeat(128 << 10), table).unwrap();
    drop(with_table(dir.path(), "above", options, "512G"));
    qemu_img(dir.path(), &["rebase", "-u", "-b", "below", "-F", "qcow2", "above"]);
    assert_eq!(extents(&["above", "below"], dir.path()), 256 << 10);
}

#[test]
fn damaged_vmdk_is_refused_or_read_as_qemu_reads_it() {
    for kind in ["monolithicSparse", "streamOptimized"] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("raw"), [5; 200 << 10]).unwrap();
        let option = format!("subformat={kind}");
        qemu_img(dir.path(), &["convert", "-O", "vmdk", "-o", &option, "raw", "image"]);
        let good = fs::read(dir.path().join("image")).unwrap();
        let tail = good.len() - 1024..good.len() - 900;
        let places = (0..80).chain(tail).flat_map(|at| [(at, 0), (at, 3), (at, 7)]);
        let changed = places.map(|(at, bit)| {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            bytes
        });
        try_all(&dir, Format::Vmdk, &good, 4, changed);
        let cuts = (0..good.len()).step_by(good.len() / 50).map(|len| good[..len].to_vec());
        try_all(&dir, Format::Vmdk, &good, 1, cuts);
    }
}
