//! Merging a frozen layer down while a delta above it is in use.

use std::path::Path;
use std::sync::Arc;

use super::absorb::absorb_into;
use super::pace::Pace;
use crate::copy::Watch;
use crate::delta::{Delta, Frozen, heading};
use crate::io::{FileStorage, Storage};
use crate::open::{For, layer};
use crate::{Error, Result, Stack, StackSpec};

impl Stack {
    /// Merges the topmost frozen layer into the one below it, and goes on on that one. `chain` is
    /// what this stack was opened with, and what snapshots have put on it since.
    ///
    /// To commit a running disk's own changes, take a snapshot first: then they are in the topmost
    /// frozen layer. The layer that was merged is no longer of any use to this stack.
    ///
    /// # Errors
    /// There are no two frozen layers, others use the lower one, another operation is under way,
    /// there is no room, or `watch` broke it off. It can then be begun again.
    pub fn commit(&self, chain: &StackSpec, pace: Pace, watch: Watch<'_>) -> Result<()> {
        let _alone = self.change()?;
        let [below @ .., parent, child] = &chain.frozen[..] else { return Err(Error::NoLayers) };
        let layers = self.current.get();
        // Not by its path: a snapshot has moved it if it was this stack's delta once.
        let (_, locked) = layers.layer_of(heading(parent)?.uuid).ok_or(Error::NoLayers)?;
        let exclusive = Exclusive::take(parent, locked)?;
        let open = || Delta::load(parent, Arc::clone(&exclusive.writable));
        absorb_into(open, &Frozen::open(child)?, pace, watch)?;
        drop(exclusive);
        let frozen = below.iter().chain([parent]).cloned().collect();
        self.rebase_alone(&StackSpec { frozen, ..chain.clone() }, pace, watch)
    }
}

/// A layer that this process has open to read, open to write, and for nobody else.
struct Exclusive<'a> {
    readable: &'a Arc<dyn Storage>,
    writable: Arc<dyn Storage>,
}

impl<'a> Exclusive<'a> {
    /// At no moment can somebody who writes get in between.
    fn take(path: &Path, readable: &'a Arc<dyn Storage>) -> Result<Exclusive<'a>> {
        let writable = Arc::new(FileStorage::locked(layer(path, For::Merging)?));
        readable.unlock().map_err(Error::open(path))?;
        // Whatever comes of it, the lock to read is taken again.
        let exclusive = Exclusive { readable, writable };
        match exclusive.writable.exclude().map_err(Error::open(path))? {
            true => Ok(exclusive),
            false => Err(Error::BeingRead { path: path.into() }),
        }
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.writable.share().and_then(|()| self.readable.share()) {
            log::error!("a layer in use is not locked: {error}");
        }
    }
}
