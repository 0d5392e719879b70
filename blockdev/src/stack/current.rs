//! Which layers a stack has at the moment. A snapshot puts others in their place while disks use
//! them; each disk goes on to them when none of its own transfers is under way.

use std::ops::Deref;
use std::sync::{Arc, PoisonError, Weak};

use crate::io::wakeup::Wakeup;
use crate::layers::Layers;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// The layers that operations which begin now use.
#[derive(Debug)]
pub(crate) struct Current {
    layers: Mutex<Arc<Layers>>,
    /// One more with each change.
    generation: AtomicU64,
    /// Those who look at the layers, to tell them.
    watching: Mutex<Vec<Weak<Wakeup>>>,
}

impl Current {
    pub(crate) fn new(layers: Layers) -> Arc<Current> {
        Arc::new(Current {
            layers: Mutex::new(Arc::new(layers)),
            generation: AtomicU64::new(0),
            watching: Mutex::default(),
        })
    }

    pub(crate) fn get(&self) -> Arc<Layers> {
        Arc::clone(&self.layers())
    }

    pub(crate) fn publish(&self, layers: Layers) {
        let mut current = self.layers();
        *current = Arc::new(layers);
        self.generation.fetch_add(1, Ordering::Release);
        drop(current);
        // Else an idle disk would keep files open and locked that nobody needs.
        self.watching().retain(|wakeup| {
            let wakeup = wakeup.upgrade();
            wakeup.inspect(|wakeup| wakeup.signal()).is_some()
        });
    }

    /// How many are told.
    #[cfg(test)]
    pub(crate) fn watchers(&self) -> usize {
        self.watching().len()
    }

    fn watching(&self) -> MutexGuard<'_, Vec<Weak<Wakeup>>> {
        self.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn layers(&self) -> MutexGuard<'_, Arc<Layers>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk's look at the current layers.
#[derive(Debug)]
pub(crate) struct View {
    current: Arc<Current>,
    layers: Arc<Layers>,
    generation: u64,
}

impl View {
    pub(crate) fn new(current: &Arc<Current>) -> View {
        // The generation first: what changes in between is seen as a change, at worst once more.
        let generation = current.generation.load(Ordering::Acquire);
        View { current: Arc::clone(current), layers: current.get(), generation }
    }

    /// Signals `wakeup` when there are newer layers.
    pub(crate) fn watch(&self, wakeup: &Arc<Wakeup>) {
        let mut watching = self.current.watching();
        // A server has had one for every client that ever was.
        watching.retain(|wakeup| wakeup.strong_count() > 0);
        watching.push(Arc::downgrade(wakeup));
    }

    /// Whether there are newer layers.
    pub(crate) fn is_stale(&self) -> bool {
        self.current.generation.load(Ordering::Acquire) != self.generation
    }

    /// Looks at the newest layers from now on.
    pub(crate) fn refresh(&mut self) {
        if self.is_stale() {
            *self = View::new(&self.current);
        }
    }

    pub(crate) fn layers(&self) -> &Arc<Layers> {
        &self.layers
    }
}

impl Deref for View {
    type Target = Layers;

    fn deref(&self) -> &Layers {
        &self.layers
    }
}
