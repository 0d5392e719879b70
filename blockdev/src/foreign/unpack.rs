//! Compressed clusters: however much a few bytes claim to hold, no more than one cluster comes out.

use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress};

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Deflate without a header, as in qcow2.
    Deflate,
    /// Deflate with zlib's header, as in vmdk.
    Zlib,
    /// One zstd frame.
    Zstd,
}

/// The largest window a zstd frame may ask for: 16 MiB. QEMU's have 2 MiB at most.
const WINDOW_LOG: u32 = 24;

/// Unpacks into `cluster` and returns how many bytes there were, at most a cluster. What follows
/// in `packed` is nobody's.
pub(super) fn unpack(method: Method, packed: &[u8], cluster: &mut [u8]) -> io::Result<usize> {
    match method {
        Method::Deflate => inflate(Decompress::new(false), packed, cluster),
        Method::Zlib => inflate(Decompress::new(true), packed, cluster),
        Method::Zstd => zstd_frame(packed, cluster),
    }
}

fn inflate(mut state: Decompress, packed: &[u8], cluster: &mut [u8]) -> io::Result<usize> {
    state.decompress(packed, cluster, FlushDecompress::Finish).map_err(io::Error::from)?;
    Ok(usize::try_from(state.total_out()).map_or(cluster.len(), |count| count.min(cluster.len())))
}

fn zstd_frame(packed: &[u8], cluster: &mut [u8]) -> io::Result<usize> {
    let mut decoder = zstd::Decoder::with_buffer(packed)?.single_frame();
    decoder.window_log_max(WINDOW_LOG)?;
    let mut count = 0;
    while count < cluster.len() {
        match decoder.read(&mut cluster[count..])? {
            0 => break,
            read => count += read,
        }
    }
    Ok(count)
}

/// The cluster that was unpacked last.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    /// Where its packed bytes are in the file.
    at: Option<u64>,
    bytes: Vec<u8>,
}

impl Unpacked {
    /// The cluster of `len` bytes packed at `at`; `fill` unpacks it if it is not here.
    pub(super) fn get<E>(
        &mut self,
        at: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<&[u8], E> {
        if self.at != Some(at) {
            self.at = None;
            self.bytes.resize(len, 0);
            fill(&mut self.bytes)?;
            self.at = Some(at);
        }
        Ok(&self.bytes)
    }
}
