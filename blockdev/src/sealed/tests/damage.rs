//! Files that were damaged on the way.

use super::{Reader, refusal, small, unsealed};
use crate::ErrorKind;
use crate::sealed::Error;

use std::io::{self, Read};
use std::path::Path;

#[test]
fn every_truncation_is_told_from_damage() {
    let bytes = small();
    for len in 0..bytes.len() {
        let error = refusal(&bytes[..len]);
        assert!(matches!(error, Error::Truncated { .. }), "{len}: {error}");
        assert_eq!(error.kind(), ErrorKind::Integrity);
    }
}

#[test]
fn every_flipped_bit_is_detected_and_located() {
    let bytes = small();
    unsealed(&bytes).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = refusal(&bytes);
        let at = match error {
            Error::Damaged { at, .. } | Error::Truncated { at, .. } => at,
            Error::NotSealed { .. } => 0,
            other => panic!("{bit}: {other}"),
        };
        assert!(at <= bytes.len() as u64, "{bit}: {at}");
        assert_eq!(error.kind(), ErrorKind::Integrity);
    }
}

#[test]
fn a_flipped_bit_of_the_header_or_a_chunk_is_found_where_it_is() {
    let bytes = small();
    for (at, part) in [(100, 0), (256, 256), (265 + 20, 265), (265 + 60, 265)] {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        let error = refusal(&bytes);
        assert!(matches!(error, Error::Damaged { at, .. } if at == part), "{at}: {error}");
    }
}

#[test]
fn what_follows_the_end_is_refused() {
    let mut bytes = small();
    bytes.push(0);
    let end = bytes.len() as u64 - 1;
    assert!(matches!(refusal(&bytes), Error::Damaged { at, .. } if at == end));
    let mut twice = small();
    twice.extend(small());
    assert!(matches!(refusal(&twice), Error::Damaged { at, .. } if at == end));
}

#[test]
fn other_files_are_no_sealed_files() {
    for bytes in [&b"hello"[..], &[0; 4096], b"OFFDELTA", &b"x".repeat(300)] {
        assert!(matches!(refusal(bytes), Error::NotSealed { .. }));
    }
}

/// A generator that needs no crate and no clock: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// Damages `bytes` in one of the ways files are damaged in.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    let len = random.below(64).min(bytes.len() - at);
    match random.below(5) {
        0 => bytes[at] = random.below(256) as u8,
        1 => bytes.truncate(at.max(1)),
        2 => bytes[at..at + len].fill(0xff),
        3 => drop(bytes.drain(at.max(1)..(at + len).max(1))),
        _ => {
            let from = random.below(bytes.len() - len + 1);
            bytes.copy_within(from..from + len, at);
        }
    }
}

#[test]
fn mutated_files_are_refused_and_never_panic() {
    let (whole, mut random) = (small(), Random(0x5eed));
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(3) {
            mutate(&mut bytes, &mut random);
        }
        assert!(bytes == whole || unsealed(&bytes).is_err());
    }
}

/// Gives one byte at a time and is interrupted before each, as a pipe may.
struct Trickle<'a>(&'a [u8], bool);

impl Read for Trickle<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let one = into.len().min(1);
        self.0.read(&mut into[..one])
    }
}

#[test]
fn short_and_interrupted_reads_are_continued() {
    let bytes = small();
    let mut reader = Reader::open(Trickle(&bytes, false), Path::new("in")).unwrap();
    while reader.next_chunk().unwrap().is_some() {}
    assert_eq!(reader.position(), bytes.len() as u64);
}

#[test]
fn a_failing_input_is_named_with_its_place() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let bytes = small();
    let input = (&bytes[..300]).chain(Broken);
    let mut reader = Reader::open(input, Path::new("in")).unwrap();
    assert!(matches!(reader.next_chunk(), Err(Error::Read { at: 300, .. })));
}
