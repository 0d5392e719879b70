//! Putting a new delta on top of a stack in use.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Stack;
use crate::delta::{Delta, ParentKind, State, load};
use crate::layers::Layers;
use crate::{Error, Result};

impl Stack {
    /// Freezes the top delta and goes on with the one in `new`, which was made on it, is empty,
    /// and is what the next [`open`](Stack::open) will be given: it has been put into the old
    /// one's place, durably, before this is called. Then a crash at any moment loses nothing.
    ///
    /// Operations under way end first, those that come meanwhile wait; for how long is returned.
    /// Who drives a disk with operations in flight must not be the one who calls this: it would
    /// wait for itself.
    ///
    /// # Errors
    /// `new` cannot be used: nothing has changed. Or the old delta cannot be made durable: then
    /// `new` is on top, and flushes fail as they would have before.
    pub fn snapshot(&self, new: &Path) -> Result<Duration> {
        self.snapshot_onto(Delta::open(new)?)
    }

    /// As [`snapshot`](Stack::snapshot), with the new delta in a storage.
    ///
    /// # Errors
    /// As there.
    #[cfg(any(test, feature = "test-support"))]
    pub fn snapshot_in(&self, new: Arc<dyn crate::io::Storage>) -> Result<Duration> {
        self.snapshot_onto(Delta::load("new".as_ref(), new)?)
    }

    fn snapshot_onto(&self, new: Delta) -> Result<Duration> {
        let _alone = self.change()?;
        let layers = self.current.get();
        let old = layers.delta()?;
        layers.check_top(&new)?;
        if !new.is_empty() {
            return Err(Error::NotEmpty { path: new.path().into() });
        }
        refuse_absorbed(&layers, old)?;
        // What is durable already need not be waited for by the first flush after the pause. Where
        // nothing was to last, all of it waits for the freezing: that comes after the pause, too.
        layers.flush()?;
        let new = if old.is_ephemeral() { new.ephemeral() } else { new };
        let next = layers.with_top(Arc::new(new));
        let begun = Instant::now();
        old.close();
        self.current.publish(next);
        old.succeeded();
        let pause = begun.elapsed();
        old.freeze()?;
        self.current.publish(self.current.get().merged()?);
        Ok(pause)
    }
}

/// That `top` has not been merged into the layer it stands on: it may have been written to since,
/// and once it is frozen nobody could tell.
fn refuse_absorbed(layers: &Layers, top: &Delta) -> Result<()> {
    let parent = &top.header().parent;
    let below = layers.layer_of(parent.uuid).filter(|_| parent.kind == ParentKind::Delta);
    let Some((path, storage)) = below else { return Ok(()) };
    let child = top.header().uuid;
    match load::header(&**storage, path)?.state {
        State::Absorbed(merged) if merged == child => {
            Err(Error::Absorbing { path: path.into(), child })
        }
        _ => Ok(()),
    }
}
