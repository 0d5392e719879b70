//! Files whose every digest is right, and that lie.

use std::path::Path;

use super::{Blocks, refusal, small};
use crate::ErrorKind;
use crate::sealed::pack::Open;
use crate::sealed::write::Writer;
use crate::sealed::{Error, Extent, ExtentKind, Source};

const DATA: ExtentKind = ExtentKind::Data;
const ZERO: ExtentKind = ExtentKind::Zero;

/// A file with these chunks, whatever they are.
fn forged(chunks: &[Open]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = Blocks::new(100 * 4096 - 512).header();
    let mut writer = Writer::new(&mut bytes, Path::new("out"), &header, b"").unwrap();
    for chunk in chunks {
        writer.chunk(chunk).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

fn chunk(extents: &[(u64, u64, ExtentKind)], data: usize) -> Open {
    let extents = extents.iter().map(|&(start, count, kind)| Extent { start, count, kind });
    Open { extents: extents.collect(), data: vec![1; data] }
}

#[track_caller]
fn says(bytes: &[u8], expected: &str) {
    let error = refusal(bytes);
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn extents_out_of_order_are_refused() {
    let order = "extents overlap or are out of order";
    says(&forged(&[chunk(&[(5, 1, DATA), (4, 1, DATA)], 8192)]), order);
    says(&forged(&[chunk(&[(5, 2, DATA), (6, 1, ZERO)], 8192)]), order);
    says(&forged(&[chunk(&[(5, 1, ZERO)], 0), chunk(&[(5, 1, ZERO)], 0)]), order);
}

#[test]
fn extents_past_the_end_of_the_disk_are_refused() {
    let past = "an extent ends past the disk's end";
    says(&forged(&[chunk(&[(100, 1, ZERO)], 0)]), past);
    says(&forged(&[chunk(&[(99, 2, ZERO)], 0)]), past);
    says(&forged(&[chunk(&[(1, u64::MAX, ZERO)], 0)]), past);
    says(&forged(&[chunk(&[(u64::MAX, 1, ZERO)], 0)]), past);
}

#[test]
fn counts_that_do_not_add_up_are_refused() {
    let sum = "extents do not add up to its data";
    says(&forged(&[chunk(&[(1, 2, DATA)], 4096)]), sum);
    says(&forged(&[chunk(&[(1, 1, DATA)], 8192)]), sum);
    says(&forged(&[chunk(&[(1, 1, ZERO)], 4096)]), sum);
    says(&forged(&[chunk(&[(1, 0, ZERO)], 0)]), "an extent is empty");
}

#[test]
fn data_past_the_end_of_the_disk_is_refused() {
    says(&forged(&[chunk(&[(99, 1, DATA)], 4096)]), "there is data past the disk's end");
}

/// Rewrites a part of the small file's only chunk, whose head is at 265.
fn with_head(edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = small();
    edit(&mut bytes);
    bytes
}

#[test]
fn counts_and_lengths_beyond_any_limit_are_refused_before_memory_is_taken() {
    let set = |at: usize, value: u32| {
        with_head(|bytes| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes()))
    };
    says(&set(269, u32::MAX), "1 to 256 extents");
    says(&set(269, 0), "1 to 256 extents");
    says(&set(273, 257), "at most 256 blocks");
    says(&set(277, u32::MAX), "longer than any");
}

/// The small file with another frame in its chunk.
fn with_frame(frame: &[u8]) -> Vec<u8> {
    with_head(|bytes| {
        let stored = u32::from_le_bytes(bytes[277..281].try_into().unwrap());
        let end = 265 + 48 + usize::try_from(stored).unwrap();
        bytes[277..281].copy_from_slice(&u32::try_from(frame.len()).unwrap().to_le_bytes());
        bytes.splice(265 + 48..end, frame.iter().copied());
    })
}

#[test]
fn a_compressed_bomb_is_not_unpacked_beyond_what_its_head_says() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap();
    says(&with_frame(&bomb), "larger than it says");
    let none = zstd::bulk::compress(&[], 3).unwrap();
    says(&with_frame(&none), "smaller than it says");
}

#[test]
fn only_one_frame_and_nothing_else_is_a_chunk() {
    let bytes = small();
    let stored = u32::from_le_bytes(bytes[277..281].try_into().unwrap());
    let frame = &bytes[265 + 48..][..usize::try_from(stored).unwrap()];
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    says(&with_frame(&[frame, &skippable].concat()), "not one zstd frame");
    says(&with_frame(&[frame, &[0]].concat()), "not one zstd frame");
    says(&with_frame(&[]), "not one zstd frame");
}

/// The small file with another header, and that header's digest.
fn with_header(at: usize, value: &[u8]) -> Error {
    refusal(&with_head(|bytes| {
        bytes[at..at + value.len()].copy_from_slice(value);
        let digest = *blake3::hash(&bytes[..224]).as_bytes();
        bytes[224..256].copy_from_slice(&digest);
    }))
}

#[test]
fn a_newer_version_is_not_called_damaged() {
    for (at, value) in [(8, 2), (16, 1), (56, 2)] {
        let error = with_header(at, &[value]);
        assert!(matches!(error, Error::Newer { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn a_compatible_feature_is_ignored_until_the_digest_of_the_file() {
    let error = with_header(24, &[1]);
    assert!(error.to_string().contains("the digest of the file does not match"), "{error}");
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let max = u64::MAX.to_le_bytes();
    for (at, value) in [(12, &[1][..]), (32, &max), (32, &[0; 8]), (40, &max), (48, &max)] {
        assert!(matches!(with_header(at, value), Error::Damaged { at: 0, .. }), "{at}");
    }
    assert!(matches!(with_header(56, &[0]), Error::Damaged { at: 0, .. }));
    assert!(matches!(with_header(96, &max[..4]), Error::Damaged { at: 0, .. }));
}
