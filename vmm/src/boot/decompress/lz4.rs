//! LZ4's legacy frames, which is what kernels are compressed to: blocks of 8 MiB, each after its
//! compressed length, up to the end of the data (lz4_Frame_format.md, "Legacy frame").

use std::io::{self, ErrorKind, Read};

use lz4_flex::block::{decompress_into, get_maximum_output_size};

/// The first bytes of a frame.
pub(super) const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// Unpacked length of every block but the last.
const BLOCK: usize = 8 << 20;

/// Unpacks a frame from its start.
pub(super) struct Decoder<R> {
    packed: R,
    block: Vec<u8>,
    /// What of `block` is unpacked and not yet read.
    left: std::ops::Range<usize>,
}

impl<R: Read> Decoder<R> {
    pub fn new(mut packed: R) -> io::Result<Decoder<R>> {
        let mut magic = [0; 4];
        packed.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(io::Error::new(ErrorKind::InvalidData, "not a legacy frame"));
        }
        Ok(Decoder { packed, block: vec![0; BLOCK], left: 0..0 })
    }

    /// Unpacks the next block; nothing at the end of the data.
    fn next_block(&mut self) -> io::Result<()> {
        let mut length = Vec::with_capacity(4);
        self.packed.by_ref().take(4).read_to_end(&mut length)?;
        if length.is_empty() {
            return Ok(());
        }
        let invalid = |cause: String| io::Error::new(ErrorKind::InvalidData, cause);
        let length = <[u8; 4]>::try_from(length).map_err(|_| ErrorKind::UnexpectedEof)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > get_maximum_output_size(BLOCK) {
            return Err(invalid(format!("a block of {length} bytes")));
        }
        let mut packed = vec![0; length];
        self.packed.read_exact(&mut packed)?;
        let unpacked = decompress_into(&packed, &mut self.block);
        self.left = 0..unpacked.map_err(|error| invalid(error.to_string()))?;
        Ok(())
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() {
            self.next_block()?;
        }
        let mut unpacked = self.block.get(self.left.clone()).unwrap_or_default();
        let read = unpacked.read(buf)?;
        self.left.start += read;
        Ok(read)
    }
}
