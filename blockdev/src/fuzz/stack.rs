//! What the fuzzer does to stacks: to their description, and to what layers say of each other.

use std::sync::Arc;

use crate::StackSpec;
use crate::chain::Chain;
use crate::delta::fuzz::{file, mended};
use crate::delta::{Header, SECTOR_LEN};
use crate::io::Storage;
use crate::io::mem::MemStorage;
use crate::layers::{Layers, Place};

use super::LARGEST;

/// Most layers of a chain.
const DEEPEST: usize = 16;

/// `bytes` are the JSON of a [`StackSpec`], which must come back the same, or else the headers of
/// a chain's layers from the bottom up, whose disk must lie within its layers' files.
///
/// # Panics
/// There is a bug.
pub fn stack(bytes: &[u8]) -> bool {
    if bytes.starts_with(b"{") { description(bytes).is_some() } else { layers(bytes).is_some() }
}

fn description(bytes: &[u8]) -> Option<()> {
    let spec: StackSpec = serde_json::from_slice(bytes).ok()?;
    let again = serde_json::to_vec(&spec).expect("it can be written");
    assert_eq!(serde_json::from_slice::<StackSpec>(&again).ok().as_ref(), Some(&spec));
    Some(())
}

fn layers(bytes: &[u8]) -> Option<()> {
    let headers = bytes.as_chunks::<SECTOR_LEN>().0.iter().take(DEEPEST);
    let mut storages: Vec<Arc<dyn Storage>> = Vec::new();
    for bytes in headers.map(mended) {
        match Header::decode(&bytes) {
            Ok(header) if header.size <= LARGEST && header.most_blocks() * 4096 <= 4 * LARGEST => {
                storages.push(Arc::new(MemStorage::new(header.file_len(), file([bytes; 2], &[]))));
            }
            _ => return None,
        }
    }
    let top = storages.pop();
    let chain = Chain::load(None, &storages, top).ok()?;
    let owners = chain.owners(None).ok()?;
    lookup_everything(&Layers::new(chain, owners));
    Some(())
}

fn lookup_everything(layers: &Layers) {
    let (mut at, size) = (0, layers.size());
    let lens: Vec<_> = layers.storages().map(|s| s.map(|s| s.len().expect("memory"))).collect();
    while at < size {
        let (place, len) = layers.lookup(at..size);
        assert!(len > 0 && len <= size - at, "{len} of {at}..{size}");
        if let Place::Data { layer, offset } = place {
            assert!(lens[layer].is_some_and(|end| offset + len <= end), "{place:?}");
        }
        at += len;
    }
}
