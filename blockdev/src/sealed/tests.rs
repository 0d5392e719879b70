//! Sealing and unsealing in memory and in files, hostile files included.

mod chain;
mod damage;
mod lies;
mod model;
mod round;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::{BaseRef, Chunk, Error, ExtentKind, Header, Reader, Result, Source, Summary, seal};
use crate::delta::BLOCK_LEN;

/// Owned blocks in memory.
#[derive(Clone, Debug)]
struct Blocks {
    size: u64,
    owned: BTreeMap<u64, Vec<u8>>,
}

impl Blocks {
    fn new(size: u64) -> Blocks {
        Blocks { size, owned: BTreeMap::new() }
    }

    /// Makes a run of blocks of these bytes owned.
    fn with(mut self, blocks: Range<u64>, byte: u8) -> Blocks {
        self.owned.extend(blocks.map(|block| (block, vec![byte; BLOCK_LEN])));
        self
    }
}

impl Source for Blocks {
    fn header(&self) -> Header {
        let base = BaseRef { digest: [7; 32], size: 5000, visible: 4500 };
        Header { size: self.size, base: Some(base) }
    }

    fn next_owned(&self, from: u64) -> Result<Option<Range<u64>>> {
        Ok(self.owned.range(from..).next().map(|(&block, _)| block..block + 1))
    }

    fn read(&self, from: u64, into: &mut [u8]) -> Result<()> {
        into.copy_from_slice(&self.owned[&from]);
        Ok(())
    }
}

/// A file with data, zeroes, a partial last block, and settings.
fn small() -> Vec<u8> {
    let mut blocks = Blocks::new(9 * 4096 - 512).with(1..3, 5).with(3..6, 0).with(7..9, 6);
    blocks.owned.get_mut(&8).unwrap()[4096 - 512..].fill(0);
    bytes_of(&blocks)
}

fn sealed(source: &dyn Source) -> (Vec<u8>, Summary) {
    let mut bytes = Vec::new();
    let path = Path::new("out");
    let summary = seal(source, b"cpus = 1\n", &mut bytes, path, &mut |_, _| ()).unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64);
    (bytes, summary)
}

fn bytes_of(source: &dyn Source) -> Vec<u8> {
    sealed(source).0
}

/// What a file says each block is, once it has been checked to its end.
fn unsealed(bytes: &[u8]) -> Result<BTreeMap<u64, Vec<u8>>> {
    let mut reader = Reader::open(bytes, Path::new("in"))?;
    let mut owned = BTreeMap::new();
    while let Some(chunk) = reader.next_chunk()? {
        owned.extend(blocks(&chunk));
    }
    assert!(reader.next_chunk()?.is_none(), "the end stays the end");
    Ok(owned)
}

fn blocks(chunk: &Chunk<'_>) -> Vec<(u64, Vec<u8>)> {
    let zeroes = vec![0; BLOCK_LEN];
    let of_piece = |(extent, data): (super::Extent, &[u8])| match extent.kind {
        ExtentKind::Zero => extent.blocks().map(|block| (block, zeroes.clone())).collect(),
        ExtentKind::Data => {
            let data = data.chunks(BLOCK_LEN).map(<[u8]>::to_vec);
            extent.blocks().zip(data).collect::<Vec<_>>()
        }
    };
    chunk.pieces().flat_map(of_piece).collect()
}

/// What is said about a file that must be refused.
fn refusal(bytes: &[u8]) -> Error {
    unsealed(bytes).expect_err("it must be refused")
}
