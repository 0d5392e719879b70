//! A file whose bytes are not trusted.

use std::fmt::Display;
use std::ops::Range;

use super::{Error, Format};
use crate::copy::{Raw, Source};
use crate::{Error as DiskError, Extent, Result};

/// An image's file, and how to complain about it.
#[derive(Debug)]
pub(super) struct Input {
    raw: Raw,
    format: Format,
    known: Known,
}

/// A stretch of the file, known to be data or a hole.
#[derive(Debug)]
struct Known {
    range: Range<u64>,
    extent: Extent,
}

impl Input {
    pub(super) fn new(raw: Raw, format: Format) -> Input {
        let known = Known { range: 0..0, extent: Extent::Zero };
        Input { raw, format, known }
    }

    /// The file's length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.raw.size()
    }

    /// How many bytes of `range`, as far as the file goes, are not in holes.
    pub(super) fn data_in(&mut self, range: Range<u64>) -> Result<u64> {
        let (mut at, end, mut data) = (range.start, range.end.min(self.len()), 0);
        while at < end {
            if !self.known.range.contains(&at) {
                let (extent, len) = self.raw.extent(at)?;
                self.known = Known { range: at..at + len.max(1), extent };
            }
            let next = end.min(self.known.range.end);
            if self.known.extent == Extent::Data {
                data += next - at;
            }
            at = next;
        }
        Ok(data)
    }

    /// Fills `buf`; a file that ends before is damaged.
    pub(super) fn read(&self, buf: &mut [u8], at: u64) -> Result<()> {
        match self.raw.read_some(buf, at)? {
            count if count == buf.len() => Ok(()),
            _ => Err(self.damaged(at, format!("{} bytes are cut off", buf.len()))),
        }
    }

    /// As many bytes of `at..at + len` as there are.
    pub(super) fn read_up_to(&self, len: usize, at: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let count = self.raw.read_some(&mut bytes, at)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// For what contradicts itself at byte `at` of the file.
    pub(super) fn damaged(&self, at: u64, what: impl Display) -> DiskError {
        let (path, what) = (self.raw.path().into(), what.to_string());
        Error::Damaged { path, format: self.format, at, what }.into()
    }

    /// For what is sound, but not read here.
    pub(super) fn unsupported(&self, what: impl Display, advice: &'static str) -> DiskError {
        Error::Unsupported { path: self.raw.path().into(), what: what.to_string(), advice }.into()
    }
}

/// A big-endian number in a header that has been read whole.
pub(super) fn be<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    field::<N>(bytes, at).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A little-endian number in a header that has been read whole.
pub(super) fn le<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    field::<N>(bytes, at).iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Zeroes where the header is shorter.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
