//! What is sealed: the blocks of a disk that are not its base's.

use std::ops::Range;

use super::Result;
use super::format::{BaseRef, Header};
use crate::chain::Chain;
use crate::delta::BLOCK;
use crate::layers::{Layers, Place};
use crate::owners::Owners;
use crate::{Error, StackSpec};

/// A disk whose owned blocks can be read, while nobody writes to it.
pub trait Source {
    /// The disk and the base it stands on.
    fn header(&self) -> Header;

    /// The first run of owned blocks at or after block `from`. It may end before the blocks do that
    /// are owned.
    ///
    /// # Errors
    /// The layers cannot be read.
    fn next_owned(&self, from: u64) -> Result<Option<Range<u64>>>;

    /// Reads whole blocks from block `from` on, all of them owned. What lies past the disk's end
    /// is zeroes.
    ///
    /// # Errors
    /// The layers cannot be read.
    fn read(&self, from: u64, into: &mut [u8]) -> Result<()>;
}

/// What the layers over a base own, as the topmost owner has it. Locked against writers.
#[derive(Debug)]
pub struct Owned {
    layers: Layers,
    header: Header,
}

impl Owned {
    /// Opens and locks the layers of `spec` and checks that each belongs to the next.
    ///
    /// # Errors
    /// One is missing, damaged, in use, or not the one it was.
    pub fn open(spec: &StackSpec) -> Result<Owned> {
        let chain = Chain::open(spec)?;
        let owners = chain.owners(spec.owners.as_deref())?;
        Owned::over(chain, owners)
    }

    /// As [`open`](Owned::open), of layers that are open.
    pub(crate) fn over(chain: Chain, owners: Owners) -> Result<Owned> {
        let base = base(&chain)?;
        let layers = Layers::new(chain, owners);
        let header = Header { size: layers.size(), base };
        Ok(Owned { layers, header })
    }
}

impl Source for Owned {
    fn header(&self) -> Header {
        self.header.clone()
    }

    fn next_owned(&self, from: u64) -> Result<Option<Range<u64>>> {
        let size = self.header.size;
        let mut at = from * BLOCK;
        while at < size {
            match self.layers.lookup(at..size) {
                // Layer 0 is the base's place. A layer below may show through in part of a block.
                (Place::Data { layer: 1.., .. }, len) => {
                    return Ok(Some(at / BLOCK..(at + len).div_ceil(BLOCK)));
                }
                (_, len) => at += len,
            }
        }
        Ok(None)
    }

    fn read(&self, from: u64, into: &mut [u8]) -> Result<()> {
        let (mut at, mut rest) = (from * BLOCK, into);
        while at < self.header.size && !rest.is_empty() {
            let end = self.header.size.min(at + rest.len() as u64);
            let (place, len) = self.layers.lookup(at..end);
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
            let (part, others) = rest.split_at_mut(len);
            self.read_place(place, part)?;
            at += len as u64;
            rest = others;
        }
        rest.fill(0);
        Ok(())
    }
}

impl Owned {
    fn read_place(&self, place: Place, into: &mut [u8]) -> Result<()> {
        let Place::Data { layer, offset } = place else {
            into.fill(0);
            return Ok(());
        };
        let storage = self.layers.storages().nth(layer).flatten();
        let read = storage.map_or(Ok(()), |storage| storage.read_exact_at(into, offset));
        Ok(read.map_err(Error::read(self.layers.path(layer), offset))?)
    }
}

/// The base of a chain, as far as it shows through every layer above it.
fn base(chain: &Chain) -> Result<Option<BaseRef>> {
    let Some(base) = &chain.base else { return Ok(None) };
    let (size, digest) = (base.identity().size, base.identity().digest_bytes()?);
    let deltas = chain.delta.iter().map(|delta| delta.header());
    let headers = chain.frozen.iter().map(|layer| layer.header()).chain(deltas);
    let visible = headers.map(|header| header.parent.visible).fold(size, u64::min);
    Ok(Some(BaseRef { digest, size, visible }))
}
