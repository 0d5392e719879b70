//! Packing a disk, and attaching what was packed: a new delta with all of it.

use std::io;
use std::path::Path;

use super::model::Model;
use super::world::{Places, Top, World};
use crate::chain::Chain;
use crate::delta::{Parent, create_in};
use crate::layers::Layers;
use crate::owners::Owners;
use crate::sealed::{self, Owned, Reader, apply, seal};
use crate::{Error, Result, Stack};

impl World {
    /// Puts a delta that was made of the packed disk into the delta's place. Snapshots go with what
    /// it stood on; the base is the same.
    pub(super) fn attach(&mut self) -> Result<()> {
        self.open = None;
        let now = self.ledger().now.clone();
        let Places { delta, bases, .. } = now.places.clone();
        let found = self.store().look(&now, delta, Top::Read)?;
        let chain = self.store().chain(&now.places, delta, Top::Read)?;
        let packed = self.during(|_| pack(chain)).map_err(failed)?;
        let new = self.add_file();
        self.during(|world| world.unpack(&packed, new)).map_err(failed)?;
        let mut ledger = self.ledger();
        ledger.now.model = Model::of(&found);
        ledger.now.past.clear();
        ledger.move_to(Places { delta: new, layers: Vec::new(), bases });
        drop(ledger);
        self.switch_on()
    }

    /// Makes the delta in file `new`, on the base that the packed one names.
    fn unpack(&self, packed: &[u8], new: usize) -> sealed::Result<()> {
        let mut reader = Reader::open(packed, Path::new("sealed"))?;
        let header = reader.header().clone();
        let (below, parent) = match (&header.base, self.places().bases.first()) {
            (Some(named), Some(&base)) => {
                let parent = Parent::base(&self.bases[base].identity)?;
                assert_eq!(named.digest, parent.digest, "the base it stands on");
                (self.store().base(base), Parent { visible: named.visible, ..parent })
            }
            _ => (self.store().nothing(), Parent::nothing()),
        };
        create_in(&*self.files[new], header.size, &parent)?;
        let delta = Some(self.store().delta(new)?);
        let chain = Chain { delta, ..below }.checked()?;
        let stack = Stack::over(Layers::new(chain, Owners::default()));
        apply(&mut reader, &stack, &mut |_| ())
    }
}

fn pack(chain: Chain) -> sealed::Result<Vec<u8>> {
    let owners = chain.owners(None)?;
    let (source, mut packed) = (Owned::over(chain, owners)?, Vec::new());
    seal(&source, b"", &mut packed, Path::new("sealed"), &mut |_, _| ())?;
    Ok(packed)
}

fn failed(error: sealed::Error) -> Error {
    match error {
        sealed::Error::Disk(error) => error,
        error => Error::Engine { what: "an attached disk", source: io::Error::other(error) },
    }
}
