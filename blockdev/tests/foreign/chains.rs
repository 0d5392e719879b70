//! Every kind of image, and images on images.

use std::os::unix::fs::symlink;

use super::*;

const LEN: usize = (3 << 20) + 512;

/// Makes an image of `raw_image` by `qemu-img convert` and reads it.
fn round_trip(args: &[&str]) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let bytes = raw_image(&dir, "raw", LEN);
    let args = [&["convert", "-f", "raw"], args, &["raw", "image"]].concat();
    qemu_img(dir.path(), &args);
    let (found, holes) = read(&layers(dir.path(), &["image"])).unwrap();
    assert!(found == bytes, "qemu-img {args:?}");
    let packed = args.contains(&"-c") || args.contains(&"subformat=streamOptimized");
    let unpacked = open(&layers(dir.path(), &["image"])).unwrap().unpacked();
    // Clusters that would not get smaller are not packed.
    assert!((unpacked > 0) == packed && unpacked <= LEN as u64 - holes, "qemu-img {args:?}");
    holes
}

#[test]
fn qcow2_of_every_kind_is_read() {
    for options in [
        "compat=0.10",
        "compat=1.1",
        "cluster_size=512",
        "cluster_size=2M",
        "cluster_size=16k,extended_l2=on",
        "compat=0.10,preallocation=metadata",
        "preallocation=falloc",
        "refcount_bits=1,cluster_size=4k",
    ] {
        let holes = round_trip(&["-O", "qcow2", "-o", options]);
        assert!(holes > 512 << 10 || options.contains("2M") || options.contains("prealloc"));
    }
}

#[test]
fn compressed_qcow2_is_read() {
    for options in [
        "compat=0.10",
        "cluster_size=512",
        "cluster_size=2M",
        "compression_type=zstd",
        "compression_type=zstd,cluster_size=2M",
        "cluster_size=64k,extended_l2=on",
    ] {
        round_trip(&["-c", "-O", "qcow2", "-o", options]);
    }
}

#[test]
fn vmdk_in_one_file_is_read() {
    for kind in ["monolithicSparse", "streamOptimized"] {
        let option = format!("subformat={kind}");
        let holes = round_trip(&["-O", "vmdk", "-o", &option]);
        assert!(holes > 512 << 10, "{holes}");
    }
    round_trip(&["-O", "vmdk", "-o", "subformat=monolithicSparse,zeroed_grain=on"]);
}

#[test]
fn a_vmdk_of_several_files_is_refused_and_none_of_them_opened() {
    for kind in ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        let dir = tempfile::tempdir().unwrap();
        raw_image(&dir, "raw", LEN);
        let option = format!("subformat={kind}");
        qemu_img(dir.path(), &["convert", "-O", "vmdk", "-o", &option, "raw", "image.vmdk"]);
        let error = read(&layers(dir.path(), &["image.vmdk"])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains("never followed"), "{error}");
    }
}

/// base.raw <- mid.qcow2 <- low.qcow2 <- top.qcow2, of different lengths and cluster sizes.
fn chain() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    raw_image(&dir, "base.raw", LEN);
    let at = dir.path();
    let create = |name, below, format, options, size| {
        let args = ["create", "-f", "qcow2", "-b", below, "-F", format, "-o", options, name, size];
        qemu_img(at, &args);
    };
    create("mid.qcow2", "base.raw", "raw", "compat=0.10,cluster_size=4k", "2M");
    qemu_io(at, "mid.qcow2", &["write -P 1 100k 5k", "write -c -P 2 1M 4k"]);
    create("low.qcow2", "mid.qcow2", "qcow2", "cluster_size=64k", "5M");
    qemu_io(at, "low.qcow2", &["write -P 3 1000k 200k", "write -z 0 64k", "write -P 4 4M 512"]);
    let options = "cluster_size=32k,extended_l2=on,lazy_refcounts=off";
    create("top.qcow2", "low.qcow2", "qcow2", options, "4609k");
    qemu_io(at, "top.qcow2", &["write -P 5 1030k 3k", "discard 1100k 40k", "write -z 1200k 1k"]);
    dir
}

const NAMES: [&str; 4] = ["top.qcow2", "low.qcow2", "mid.qcow2", "base.raw"];

#[test]
fn a_chain_that_is_named_in_full_is_read_as_qemu_reads_it() {
    let dir = chain();
    for depth in 0..3 {
        let (found, _) = read(&layers(dir.path(), &NAMES[depth..])).unwrap();
        assert!(
            found == converted(dir.path(), Format::Qcow2, NAMES[depth]).unwrap(),
            "{}",
            NAMES[depth]
        );
    }
}

#[test]
fn a_path_in_an_image_is_told_and_not_followed() {
    let dir = chain();
    for end in 1..4 {
        let error = read(&layers(dir.path(), &NAMES[..end])).unwrap_err();
        assert!(error.to_string().contains(&format!("{:?}", NAMES[end])), "{error}");
        assert!(error.advice().unwrap().contains("--backing"), "{error}");
    }
    std::fs::remove_file(dir.path().join("base.raw")).unwrap();
    std::fs::write(dir.path().join("another"), vec![7; LEN]).unwrap();
    let names = ["top.qcow2", "low.qcow2", "mid.qcow2", "another"];
    let (found, _) = read(&layers(dir.path(), &names)).unwrap();
    assert_eq!(found[300_000], 7);
}

#[test]
fn a_chain_longer_than_its_images_say_is_refused() {
    let dir = chain();
    let error = read(&layers(dir.path(), &["base.raw", "mid.qcow2"])).unwrap_err();
    assert!(matches!(error, DiskError::Foreign(Error::Unneeded { .. })), "{error}");
}

#[test]
fn a_raw_backing_file_that_looks_like_qcow2_is_not_guessed_about() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    // What a guest wrote to its raw disk: a header with a backing file.
    qemu_img(at, &["create", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", "raw", "1M"]);
    let file = std::fs::OpenOptions::new().write(true).open(at.join("raw")).unwrap();
    file.set_len(1 << 20).unwrap();
    qemu_img(at, &["create", "-f", "qcow2", "-b", "raw", "-F", "raw", "top"]);
    let error = read(&layers(at, &["top", "raw"])).unwrap_err();
    assert!(matches!(error, DiskError::Foreign(Error::Doubtful { .. })), "{error}");
    let mut said = layers(at, &["top", "raw"]);
    said[1].format = Some(Format::Raw);
    assert!(read(&said).unwrap().0 == std::fs::read(at.join("raw")).unwrap());
    said[1].format = Some(Format::Qcow2);
    assert!(read(&said).unwrap_err().to_string().contains("/etc/passwd"));
}

#[test]
fn a_name_is_a_path_whatever_it_looks_like() {
    let dir = tempfile::tempdir().unwrap();
    raw_image(&dir, "nbd:localhost:10809", LEN);
    for name in ["nbd:localhost:10809", "../x", "json:{}", "fat:rw:.", "a\0b", ""] {
        let found = read(&layers(dir.path(), &[name]));
        let ok = name == "nbd:localhost:10809";
        assert_eq!(found.is_ok(), ok, "{name:?}: {:?}", found.err());
    }
    symlink(dir.path().join("nbd:localhost:10809"), dir.path().join("link")).unwrap();
    assert!(read(&layers(dir.path(), &["link"])).is_ok());
    let fifo = dir.path().join("fifo");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, 0o600.into(), 0).unwrap();
    for path in [fifo, "/dev/zero".into(), "/dev/tty".into(), dir.path().into()] {
        let layer = Layer { path, format: Some(Format::Qcow2) };
        let error = read(std::slice::from_ref(&layer)).unwrap_err();
        assert!(matches!(error, DiskError::NotAFile { .. }), "{error}");
    }
}
