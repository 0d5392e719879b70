//! Unpacks a kernel by any of the methods Linux is compressed with.
//!
//! The kernel's build ends each payload with its unpacked size in 4 bytes (scripts/Makefile.lib,
//! `size_append`; gzip's own format ends so already). Exactly that much must come out, and no
//! more than [`MAX_UNPACKED`], whatever the data says.

use std::io::{self, BufReader, Read};
use std::ops::Range;

use super::image::Image;

mod lz4;

/// Bytes of the size at the end of a payload.
pub(super) const TRAILER: u32 = 4;
/// Several times the largest distribution kernel, unpacked.
const MAX_UNPACKED: u32 = 512 << 20;
/// What a decoder may take for its window, in KiB; Linux asks for up to 128 MiB.
const MAX_WINDOW_KIB: u32 = 192 << 10;
/// The same for zstd, as a power of two of bytes.
const MAX_WINDOW_LOG: u32 = 27;

/// Why a payload cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the variants and their numbers mean")]
pub enum Error {
    #[error("cannot read it")]
    Read(#[source] io::Error),
    #[error("it is compressed in no known way (it starts with {0:02x?})")]
    Unknown([u8; 6]),
    #[error("it is compressed with LZO, which is not supported; recompress it, or use its vmlinux")]
    Lzo,
    #[error("it claims to have {size} bytes; at most {MAX_UNPACKED} are accepted")]
    TooLarge { size: u32 },
    #[error("its {method} data is corrupt")]
    Corrupt { method: Method, source: io::Error },
    #[error("its {method} data is corrupt: it unpacks to {found} bytes, not {size}")]
    TooShort { method: Method, size: u32, found: usize },
    #[error("its {method} data is corrupt: it unpacks to more than the {size} bytes it should")]
    TooLong { method: Method, size: u32 },
}

/// How a kernel is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// RFC 1952.
    Gzip,
    /// xz with the x86 filter.
    Xz,
    /// The older `.lzma` files.
    Lzma,
    /// RFC 8878.
    Zstd,
    /// LZ4's legacy frames.
    Lz4,
    /// bzip2.
    Bzip2,
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Method::Gzip => "gzip",
            Method::Xz => "xz",
            Method::Lzma => "lzma",
            Method::Zstd => "zstd",
            Method::Lz4 => "lz4",
            Method::Bzip2 => "bzip2",
        })
    }
}

/// Unpacks what lies in this part of `image`; the part is longer than [`TRAILER`].
pub(super) fn unpack(image: &Image, payload: Range<u64>) -> Result<Vec<u8>, Error> {
    let method = recognise(image, payload.start)?;
    let end = payload.end - u64::from(TRAILER);
    let mut trailer = [0; TRAILER as usize];
    image.read_at(&mut trailer, end).map_err(Error::Read)?;
    let size = u32::from_le_bytes(trailer);
    if size > MAX_UNPACKED {
        return Err(Error::TooLarge { size });
    }
    // Only gzip counts the size as its own.
    let end = if method == Method::Gzip { payload.end } else { end };
    let packed =
        BufReader::with_capacity(64 << 10, image.reader(payload.start, end - payload.start));
    let mut unpacked = Vec::new();
    // One byte more than it should be, so that too much is seen, and the decoder sees its end.
    let decoded = decoder(method, packed)
        .and_then(|decoder| decoder.take(u64::from(size) + 1).read_to_end(&mut unpacked));
    decoded.map_err(|source| Error::Corrupt { method, source })?;
    match unpacked.len() {
        found if found as u64 > u64::from(size) => Err(Error::TooLong { method, size }),
        found if (found as u64) < u64::from(size) => Err(Error::TooShort { method, size, found }),
        _ => Ok(unpacked),
    }
}

fn recognise(image: &Image, at: u64) -> Result<Method, Error> {
    let mut start = [0; 6];
    image.read_at(&mut start, at).map_err(Error::Read)?;
    match start {
        [0x1f, 0x8b, ..] => Ok(Method::Gzip),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Ok(Method::Xz),
        [0x5d, 0, 0, ..] => Ok(Method::Lzma),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Method::Zstd),
        start if start.starts_with(&lz4::MAGIC) => Ok(Method::Lz4),
        [b'B', b'Z', b'h', ..] => Ok(Method::Bzip2),
        [0x89, b'L', b'Z', b'O', ..] => Err(Error::Lzo),
        other => Err(Error::Unknown(other)),
    }
}

fn decoder<'a, R: Read + 'a>(
    method: Method,
    packed: BufReader<R>,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match method {
        Method::Gzip => Box::new(flate2::bufread::GzDecoder::new(packed)),
        Method::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(packed, false, MAX_WINDOW_KIB)),
        Method::Lzma => {
            Box::new(lzma_rust2::LzmaReader::new_mem_limit(packed, MAX_WINDOW_KIB, None)?)
        }
        Method::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(packed)?.single_frame();
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Method::Lz4 => Box::new(lz4::Decoder::new(packed)?),
        Method::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(packed)),
    })
}

#[cfg(test)]
mod tests;
