#![allow(clippy::cast_possible_truncation, reason = "small numbers of our own making")]

use super::*;
use crate::boot::testing::{chain, gzip};

const VMLINUX: &[u8] = include_bytes!("fixtures/vmlinux");

fn fixture(method: Method) -> &'static [u8] {
    match method {
        Method::Gzip => include_bytes!("fixtures/vmlinux.gz"),
        Method::Xz => include_bytes!("fixtures/vmlinux.xz"),
        Method::Lzma => include_bytes!("fixtures/vmlinux.lzma"),
        Method::Zstd => include_bytes!("fixtures/vmlinux.zst"),
        Method::Lz4 => include_bytes!("fixtures/vmlinux.lz4"),
        Method::Bzip2 => include_bytes!("fixtures/vmlinux.bz2"),
    }
}

const METHODS: [Method; 6] =
    [Method::Gzip, Method::Xz, Method::Lzma, Method::Zstd, Method::Lz4, Method::Bzip2];

/// As the kernel's build leaves it in a bzImage.
fn payload(method: Method) -> Vec<u8> {
    with_size(method, fixture(method), VMLINUX.len() as u32)
}

fn with_size(method: Method, packed: &[u8], size: u32) -> Vec<u8> {
    let own = if method == Method::Gzip { TRAILER as usize } else { 0 };
    [&packed[..packed.len() - own], &size.to_le_bytes()].concat()
}

fn unpack_bytes(payload: &[u8]) -> Result<Vec<u8>, Error> {
    // As in a bzImage, something follows.
    let image = Image::from([payload, &[0xcc; 32]].concat());
    unpack(&image, 0..payload.len() as u64)
}

#[test]
fn what_the_kernels_build_compresses_is_unpacked() {
    for method in METHODS {
        assert_eq!(unpack_bytes(&payload(method)).unwrap(), VMLINUX, "{method}");
    }
}

#[test]
fn lz4_blocks_of_8_mib_may_be_incompressible() {
    let plain: Vec<u8> = (0..9u32 << 18).flat_map(u32::to_le_bytes).collect();
    let mut packed = lz4::MAGIC.to_vec();
    for block in plain.chunks(8 << 20) {
        let block = lz4_flex::block::compress(block);
        packed.extend((block.len() as u32).to_le_bytes());
        packed.extend(block);
    }
    let packed = with_size(Method::Lz4, &packed, plain.len() as u32);
    assert!(unpack_bytes(&packed).unwrap() == plain);
}

#[test]
fn lzo_is_named_with_a_way_out() {
    let lzo = include_bytes!("fixtures/vmlinux.lzo");
    let error = unpack_bytes(&with_size(Method::Xz, lzo, 0)).unwrap_err().to_string();
    assert!(error.contains("LZO") && error.contains("use its vmlinux"), "{error}");
}

#[test]
fn unknown_data_shows_its_start() {
    let error = unpack_bytes(b"MZ\x90\0\x03\0\0\0\0\0\0\0").unwrap_err().to_string();
    assert_eq!(error, "it is compressed in no known way (it starts with [4d, 5a, 90, 00, 03, 00])");
}

#[test]
fn the_size_at_the_end_must_be_what_comes_out() {
    for method in METHODS.into_iter().filter(|method| *method != Method::Gzip) {
        let unpack = |size| unpack_bytes(&with_size(method, fixture(method), size)).unwrap_err();
        assert_eq!(
            unpack(4000).to_string(),
            format!("its {method} data is corrupt: it unpacks to 3629 bytes, not 4000")
        );
        assert_eq!(
            unpack(3000).to_string(),
            format!(
                "its {method} data is corrupt: it unpacks to more than the 3000 bytes it should"
            )
        );
    }
    let bomb = with_size(Method::Gzip, &gzip(&vec![0; 4 << 20]), 1000);
    assert!(matches!(unpack_bytes(&bomb).unwrap_err(), Error::TooLong { size: 1000, .. }));
}

#[test]
fn a_claim_of_too_much_is_refused_before_unpacking() {
    for method in METHODS {
        let claim = with_size(method, fixture(method), MAX_UNPACKED + 1);
        let error = unpack_bytes(&claim).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
}

#[test]
fn windows_larger_than_linux_has_are_not_allocated() {
    let mut lzma = payload(Method::Lzma);
    lzma[1..5].copy_from_slice(&0xff00_0000_u32.to_le_bytes());
    let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 31 << 3, 1, 0, 0];
    zstd.extend(0u32.to_le_bytes());
    for payload in [lzma, zstd] {
        let error = unpack_bytes(&payload).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. } | Error::Unknown(_)), "{}", chain(&error));
    }
}

#[test]
fn truncated_and_flipped_data_is_never_taken_for_whole() {
    for method in METHODS {
        let whole = fixture(method);
        for cut in [1, 8, whole.len() / 2] {
            let payload = with_size(method, &whole[..whole.len() - cut], VMLINUX.len() as u32);
            let error = unpack_bytes(&payload).unwrap_err().to_string();
            assert!(error.starts_with(&format!("its {method} data is corrupt")), "{error}");
        }
    }
    // Those with a checksum see any flip that matters.
    for method in [Method::Gzip, Method::Xz, Method::Bzip2] {
        for at in (16..fixture(method).len() - 12).step_by(7) {
            let mut payload = payload(method);
            payload[at] ^= 0x10;
            let unpacked = unpack_bytes(&payload);
            assert!(unpacked.is_err() || unpacked.unwrap() == VMLINUX, "{method} {at}");
        }
    }
}
