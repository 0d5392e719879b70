//! Committing: what a VM wrote becomes part of the snapshot it stands on.
//!
//! ```text
//!   s1 ◄── web                 what web wrote
//!   s1 ◄── (frozen) ◄── web    1 is frozen, so that its guest can go on
//!   s1 ◄── web                 2 and merged into s1; web is empty
//! ```

use anyhow::Result;
use blockdev::copy::Watch;
use blockdev::delta::{self, State};
use blockdev::{Pace, Stack};
use vmm::layers::Operation;

use super::Store;
use super::chain::Chain;
use super::fault;
use super::freeze::Mark;
use super::layer::{Alone, Layer, Merging};
use super::remove::is_open;
use super::vm::Vm;
use super::writer::Writer;
use crate::failure::{self, Failure};

impl Store {
    /// Merges what a VM has written into the snapshot it stands on, which nobody else may need.
    ///
    /// # Errors
    /// It stands on an image, which never changes; the snapshot is another VM's, or others stand on it:
    /// they are named; there is no room; or `watch` broke it off. Then it is to be begun again.
    pub fn commit(&mut self, vm: &Vm, writer: &Writer, watch: Watch<'_>) -> Result<()> {
        let _merging = Merging::enter(&self.paths, watch)?;
        self.settled(vm, writer)?;
        let chain = self.chain(vm)?;
        // One that was interrupted comes first: until it is done, more cannot be merged.
        if interrupted(&chain) {
            self.merge_topmost(vm, writer, watch)?;
        }
        self.merge_nameless(vm, writer, watch)?;
        if matches!(writer, Writer::Nobody(_)) && delta::inspect(&vm.delta())?.owned_blocks == 0 {
            return Ok(());
        }
        {
            let alone = Alone::enter(&self.paths)?;
            let chain = self.chain(vm)?;
            let Some(parent) = chain.frozen.last() else { return Err(nothing_to_commit_into(vm)) };
            self.refuse_anothers(vm, parent)?;
            self.refuse_others(vm, parent, None)?;
            self.refuse_readers(writer, parent)?;
            self.freeze(&alone, vm, writer, Mark::default())?;
        }
        self.merge_topmost(vm, writer, watch)?;
        self.tell_of(vm, "committed", |it| it);
        Ok(())
    }

    /// Merges what was frozen of a VM since its last snapshot into that: for a clone that is gone, or
    /// for a commit that was refused.
    fn merge_nameless(&mut self, vm: &Vm, writer: &Writer, watch: Watch<'_>) -> Result<()> {
        loop {
            let chain = self.chain(vm)?;
            let [.., below, top] = &chain.frozen[..] else { return Ok(()) };
            let (id, frozen) = (vm.record.id(), top.record()?);
            if frozen.name.is_some() || frozen.vm != id || below.record()?.vm != id {
                return Ok(());
            }
            self.refuse_others(vm, top, None)?;
            self.refuse_others(vm, below, Some(top))?;
            self.refuse_readers(writer, below)?;
            self.merge_topmost(vm, writer, watch)?;
        }
    }

    /// Merges the topmost frozen layer of a VM into the one below it.
    fn merge_topmost(&mut self, vm: &Vm, writer: &Writer, watch: Watch<'_>) -> Result<()> {
        let alone = Alone::enter(&self.paths)?;
        let chain = self.stack(vm)?;
        // Others can stand on the lower layer until its header says what becomes of it.
        let mut alone = Some(alone);
        let parent = chain.frozen.iter().rev().nth(1).cloned();
        let merging = || {
            let parent = parent.as_ref()?;
            let state = delta::heading(parent).ok()?.state;
            matches!(state, State::Absorbing(_) | State::Absorbed(_)).then_some(())
        };
        let mut watch = |done, all| {
            if alone.is_some() && merging().is_some() {
                fault::point("merging");
                alone = None;
            }
            watch(done, all)
        };
        match writer {
            Writer::Nobody(_) => {
                Stack::open(&chain)?.commit(&chain, Pace::Full, &mut watch)?;
            }
            Writer::Monitor(monitor) => {
                monitor.perform(&Operation::Commit { chain }, &mut watch)?;
            }
        }
        drop(alone);
        self.record(vm)
    }

    /// That a layer is no snapshot of another VM, which would go back to something else then.
    fn refuse_anothers(&self, vm: &Vm, layer: &Layer) -> Result<()> {
        let lineage = self.lineage()?;
        let row = lineage.layer(layer.heading.uuid).filter(|row| row.name.is_some());
        match row.and_then(|row| row.vm.as_ref()) {
            Some(owner) if *owner != vm.record.id() => {
                let (name, label) = (&vm.record.name, lineage.label(layer.heading.uuid));
                let what = format!("{label} is a snapshot of another VM");
                let hint = format!("offshoot snapshot create {name}, or offshoot flatten {name}");
                Err(Failure::in_use(what).hint(hint).into())
            }
            _ => Ok(()),
        }
    }

    /// That nobody but the VM, and `above` where it is said, stands on a layer.
    fn refuse_others(&self, vm: &Vm, layer: &Layer, above: Option<&Layer>) -> Result<()> {
        // A commit that ended without whoever began it leaves what it merged.
        let lineage = self.lineage()?.needed();
        let above = above.map(|above| lineage.label(above.heading.uuid));
        let mut others = lineage.dependents(layer.heading.uuid);
        others.retain(|other| other != vm.record.name.as_str() && Some(other) != above.as_ref());
        if others.is_empty() {
            return Ok(());
        }
        let label = lineage.label(layer.heading.uuid);
        let what = format!("others stand on {label}: {}", failure::few(&others));
        let hint = "offshoot flatten, or rm, each of them; of a snapshot, its VM";
        Err(Failure::in_use(what).hint(hint).into())
    }

    /// That nobody reads a layer, before anything is frozen to be merged into it. The monitor of a VM that
    /// runs has it open itself, and finds out when it merges.
    fn refuse_readers(&self, writer: &Writer, layer: &Layer) -> Result<()> {
        match writer {
            Writer::Nobody(_) if is_open(&layer.delta()) => {
                let label = self.lineage()?.label(layer.heading.uuid);
                let what = format!("somebody reads {label}");
                Err(Failure::in_use(what)
                    .hint("wait until it is served or exported no more")
                    .into())
            }
            _ => Ok(()),
        }
    }
}

/// Whether the topmost frozen layer is half merged into the one below it, or wholly.
fn interrupted(chain: &Chain) -> bool {
    let [.., parent, child] = &chain.frozen[..] else { return false };
    let child = child.heading.uuid;
    matches!(parent.heading.state, State::Absorbing(uuid) | State::Absorbed(uuid) if uuid == child)
}

fn nothing_to_commit_into(vm: &Vm) -> anyhow::Error {
    let name = &vm.record.name;
    Failure::in_use("it stands on no snapshot of its own, and images never change")
        .hint(format!("offshoot snapshot create {name}, or offshoot flatten {name}"))
        .into()
}
