//! What the fuzzer does to owner maps.

use super::file::mend;
#[cfg(test)]
use super::{Chunk, Key, Owner, Owners};
use super::{decode, encode};
use crate::delta::SECTOR_BLOCKS;

/// `bytes` are the file of a map that somebody looks for who has the layers it claims to be of.
///
/// # Panics
/// There is a bug.
pub fn owner_map(bytes: &[u8]) -> bool {
    let mut right = bytes.to_vec();
    let Some(key) = mend(&mut right) else { return false };
    let (layers, blocks) = key.layers_and_blocks();
    if blocks > 64 * SECTOR_BLOCKS {
        return false;
    }
    let _ = decode(bytes, &key);
    let Some(owners) = decode(&right, &key) else { return false };
    assert_eq!(decode(&encode(&key, &owners), &key).as_ref(), Some(&owners));
    let mut block = 0;
    while block < blocks {
        let (owner, count) = owners.run(block..blocks);
        assert!(u32::from(owner) <= layers, "block {block} is layer {owner}'s");
        assert!(count > 0 && count <= blocks - block, "{count} from {block} on");
        block += count;
    }
    true
}

/// A map of so many chunks with these owners, for a seed.
#[cfg(test)]
pub(crate) fn example(layers: u32, chunks: u64, of: fn(usize) -> Owner) -> (Key, Owners) {
    let chunk = Chunk::of(&std::array::from_fn(of));
    let count = usize::try_from(chunks).unwrap_or(0);
    (Key::test(layers, chunks * SECTOR_BLOCKS), Owners { chunks: vec![chunk; count] })
}
