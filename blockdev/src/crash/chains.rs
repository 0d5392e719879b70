//! Acting out what a store does to the layers of a chain, while a guest runs or not.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::guest::BITMAP;
use super::letters::{Chain as Letter, Guest};
use super::model::{self, Model};
use super::world::{BASE, OTHER, Places, Top, World};
use crate::delta::{Parent, State, create_in};
use crate::io::mem::Call;
use crate::layers::Layers;
use crate::ops::absorb_into;
use crate::{Error, ErrorKind, Pace, Result, Stack};

pub(super) fn go(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// What a delta is to stand on: the topmost layer, the base where there is none, or nothing.
#[derive(Debug, Default)]
pub(super) struct Below {
    layers: Vec<usize>,
    bases: Vec<usize>,
}

impl World {
    /// Does what `letter` says, where there are layers enough for it.
    pub(super) fn change(&mut self, letter: &Letter) -> Result<()> {
        let frozen = self.frozen();
        self.complete(&frozen);
        match (letter, &frozen[..]) {
            (Letter::Snapshot, _) => self.snapshot(None),
            (Letter::SnapshotDuring(sync, guest), _) => self.snapshot(Some((*sync, guest))),
            (Letter::SnapshotFull(guest), _) => self.snapshot_full(guest),
            (Letter::Flatten, _) => self.rebase(Below::default(), None),
            (Letter::FlattenDuring(guest), _) => self.rebase(Below::default(), Some(guest)),
            (Letter::Remove, [below @ .., _]) => self.rebase(self.below(below), None),
            (Letter::RemoveDuring(guest), [below @ .., _]) => {
                self.rebase(self.below(below), Some(guest))
            }
            (Letter::Rebase, _) => self.rebase(self.other_base(), None),
            (Letter::RebaseDuring(guest), _) => self.rebase(self.other_base(), Some(guest)),
            (Letter::Attach, _) => self.attach(),
            (Letter::RemoveMiddle, [.., middle, child]) => self.remove_middle(*middle, *child),
            (Letter::Absorb, [.., parent, child]) => self.absorb(*parent, *child),
            (Letter::Commit, [.., parent]) => self.commit(*parent),
            (Letter::Resize(size), _) => self.resize(*size),
            (Letter::Compact, _) => {
                self.during(|world| world.open().stack.compact(Pace::Full, &mut go)).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// The files of the frozen layers, from the bottom up.
    fn frozen(&self) -> Vec<usize> {
        let places = self.places();
        let chain = self.store().chain(&places, places.delta, Top::Written);
        let uuids: Vec<_> =
            chain.into_iter().flat_map(|it| it.frozen).map(|layer| layer.header().uuid).collect();
        let file = |uuid: &_| {
            let is = |file: &&usize| {
                self.store().layer(**file).is_ok_and(|layer| layer.header().uuid == *uuid)
            };
            places.layers.iter().find(is).copied()
        };
        uuids.iter().filter_map(file).collect()
    }

    /// Removes the layers that an interrupted operation was about to remove: the disk stands on
    /// `frozen` alone.
    fn complete(&self, frozen: &[usize]) {
        let places = self.places();
        let left = places.layers.iter().filter(|layer| !frozen.contains(layer));
        left.for_each(|&layer| self.remove_layer(layer));
    }

    fn snapshot(&mut self, during: Option<(u64, &Guest)>) -> Result<()> {
        let flushing = self.ledger().now.model.begin_flush();
        let (old, new) = self.new_top()?;
        let meanwhile = during.map(|(sync, guest)| {
            let meanwhile = self.meanwhile(guest);
            let early = meanwhile.clone();
            self.files[old].trap(Call::Sync, sync, move || early.submit());
            meanwhile
        });
        let top = Arc::clone(&self.files[new]);
        let done = self.during(|world| world.open().stack.snapshot_in(top));
        self.files[old].disarm();
        done?;
        let mut now = self.ledger().now.clone();
        let found = self.store().look(&now, old, Top::Read)?;
        now.model.check(&found).map_err(|wrong| Error::Engine {
            what: "a snapshot of what the disk held",
            source: io::Error::other(wrong),
        })?;
        now.model.end_flush(flushing);
        now.past.push((old, Model::of(&found)));
        let mut ledger = self.ledger();
        ledger.now = now;
        ledger.note();
        drop(ledger);
        meanwhile.map_or(Ok(()), |meanwhile| meanwhile.end())
    }

    /// A snapshot; what is written during it finds no room for its bits.
    fn snapshot_full(&mut self, guest: &Guest) -> Result<()> {
        let (old, new) = self.new_top()?;
        let meanwhile = self.meanwhile(guest);
        let (early, file) = (meanwhile.clone(), Arc::clone(&self.files[old]));
        let weak = Arc::downgrade(&file);
        file.trap(Call::Sync, 0, move || {
            if let Some(file) = weak.upgrade() {
                // The bits of what was written before are written next; those of this after them.
                file.trap(BITMAP, 0, || Ok(()));
                file.trap(BITMAP, 1, || Err(io::Error::from_raw_os_error(libc::ENOSPC)));
            }
            early.submit()
        });
        let done = self.open().stack.snapshot_in(Arc::clone(&self.files[new]) as _);
        file.disarm();
        match done {
            Err(error) if error.kind() != ErrorKind::NoSpace => Err(error),
            _ => meanwhile.end(),
        }
    }

    /// Puts a new delta, made on the present one, into its place; both files.
    pub(super) fn new_top(&mut self) -> Result<(usize, usize)> {
        let Places { delta: old, mut layers, bases } = self.places();
        let new = self.add_file();
        let layer = self.store().layer(old)?;
        let header = layer.header();
        let parent = Parent::delta(header.uuid, header.epoch, header.size);
        create_in(&*self.files[new], header.size, &parent)?;
        layers.push(old);
        self.ledger().move_to(Places { delta: new, layers, bases });
        Ok((old, new))
    }

    /// Some of the layers it stands on, and their base.
    fn below(&self, layers: &[usize]) -> Below {
        Below { layers: layers.to_vec(), bases: self.places().bases }
    }

    /// The base that it does not stand on.
    fn other_base(&self) -> Below {
        let other = if self.places().bases == [OTHER] { BASE } else { OTHER };
        Below { layers: Vec::new(), bases: vec![other] }
    }

    /// Makes the delta stand on `below`. What it stood on is then removed, snapshots and all.
    fn rebase(&mut self, below: Below, during: Option<&Guest>) -> Result<()> {
        let mut both = self.places();
        both.bases.extend(&below.bases);
        self.ledger().move_to(both);
        let flushing = self.ledger().now.model.begin_flush();
        let meanwhile = during.map(|guest| {
            let meanwhile = self.meanwhile(guest);
            let early = meanwhile.clone();
            self.files[BASE].trap(Call::Read, 0, move || early.submit());
            meanwhile
        });
        let (parent, target) = self.target(&below)?;
        let done =
            self.during(|world| world.open().stack.stand_on(parent, target, Pace::Full, &mut go));
        self.files[BASE].disarm();
        done?;
        let mut ledger = self.ledger();
        ledger.now.model.end_flush(flushing);
        let delta = ledger.now.places.delta;
        ledger.now.past.retain(|(file, _)| below.layers.contains(file));
        ledger.move_to(Places { delta, layers: below.layers, bases: below.bases });
        drop(ledger);
        meanwhile.map_or(Ok(()), |meanwhile| meanwhile.end())
    }

    /// What is to be below a layer, and how that is called.
    pub(super) fn target(&self, below: &Below) -> Result<(Parent, Layers)> {
        let chain = match (below.layers.last(), below.bases.first()) {
            (Some(top), _) => self.store().chain(&self.places(), *top, Top::Read)?,
            (None, Some(base)) => self.store().base(*base),
            (None, None) => self.store().nothing(),
        };
        let owners = chain.owners(None)?;
        Ok((chain.as_parent()?, Layers::new(chain, owners)))
    }

    /// Merges a frozen layer into the frozen one above it, while the guest runs.
    fn remove_middle(&mut self, middle: usize, child: usize) -> Result<()> {
        if self.store().layer(child)?.header().state == State::Live {
            // Its last flush found no room: it is the running disk's alone, and locked.
            return Ok(());
        }
        let frozen = self.frozen();
        let below: Vec<_> = frozen.into_iter().take_while(|&file| file != middle).collect();
        let (parent, target) = self.target(&self.below(&below))?;
        let stack = self.stack_to_merge(child)?;
        self.during(|_| stack.stand_on(parent, target, Pace::Full, &mut go))?;
        drop(stack);
        self.remove_layer(middle);
        Ok(())
    }

    /// A layer that is changed without changing what it reads as.
    fn stack_to_merge(&self, file: usize) -> Result<Stack> {
        let chain = self.store().chain(&self.places(), file, Top::Written)?;
        let owners = chain.owners(None)?;
        Ok(Stack::over(Layers::new(chain, owners)))
    }

    fn remove_layer(&self, layer: usize) {
        let mut ledger = self.ledger();
        let mut places = ledger.now.places.clone();
        places.layers.retain(|&file| file != layer);
        ledger.now.past.retain(|(file, _)| *file != layer);
        ledger.move_to(places);
    }

    /// Merges a frozen layer into the one below it, which nobody else stands on.
    fn absorb(&mut self, parent: usize, child: usize) -> Result<()> {
        self.open = None;
        self.merge(parent, child)?;
        let delta = self.stack_to_merge(self.places().delta)?;
        let chain = self.store().chain(&self.places(), parent, Top::Read)?;
        let owners = chain.owners(None)?;
        let (name, target) = (chain.as_parent()?, Layers::new(chain, owners));
        self.during(|_| delta.stand_on(name, target, Pace::Full, &mut go))?;
        drop(delta);
        {
            let past = &mut self.ledger().now.past;
            past.iter_mut().filter(|(file, _)| *file == child).for_each(|past| past.0 = parent);
        }
        self.ledger().now.merging = None;
        self.remove_layer(child);
        self.switch_on()
    }

    /// Merges the delta into the layer below, which nobody else stands on and which then is the
    /// delta.
    fn commit(&mut self, parent: usize) -> Result<()> {
        self.open = None;
        let Places { delta, mut layers, bases } = self.places();
        self.merge(parent, delta)?;
        layers.retain(|&file| file != parent);
        let mut ledger = self.ledger();
        ledger.now.merging = None;
        ledger.move_to(Places { delta: parent, layers, bases });
        drop(ledger);
        self.switch_on()
    }

    fn merge(&mut self, parent: usize, child: usize) -> Result<()> {
        let now = self.ledger().now.clone();
        let after = Model::of(&self.store().look(&now, child, Top::Read)?);
        // One that was interrupted before cannot be read by itself.
        let before = self.store().look(&now, parent, Top::Read);
        let before = before.map_or_else(|_| after.clone(), |found| Model::of(&found));
        {
            let mut ledger = self.ledger();
            ledger.now.past.retain(|(file, _)| *file != parent);
            ledger.now.merging = Some((parent, [before, after]));
            ledger.note();
        }
        let layer = self.store().layer(child)?;
        self.during(|world| {
            absorb_into(|| world.store().delta(parent), &layer, Pace::Full, &mut go)
        })
    }

    fn resize(&mut self, size: usize) -> Result<()> {
        self.open = None;
        let delta = self.store().delta(self.places().delta)?;
        let mut ledger = self.ledger();
        ledger.now.model.may_have_size(size);
        ledger.note();
        drop(ledger);
        self.during(|_| delta.resize(model::size(size)))?;
        drop(delta);
        let mut ledger = self.ledger();
        ledger.now.model.has_size();
        ledger.note();
        drop(ledger);
        self.switch_on()
    }
}
