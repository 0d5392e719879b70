//! Taking VMs back to where they came from. Of any number of them, all wait for the disk together.

use anyhow::Result;
use blockdev::delta::{Parent, ParentKind};

use super::Store;
use super::chain::Chain;
use super::draft::Busy;
use super::fault;
use super::layer::Alone;
use super::renew::Fresh;
use super::vm::Vm;
use super::writer::Writer;
use crate::failure::Failure;
use crate::parallel;

/// A VM on its way back.
struct Back<'a> {
    vm: &'a Vm,
    fresh: Fresh,
    size: u64,
}

impl Store {
    /// Takes stopped VMs back, each to its last snapshot, or else to what it was cloned of. Says what
    /// came of each, in their order.
    ///
    /// # Errors
    /// The store as a whole refuses. Each by itself: it is protected, it stands on nothing, or
    /// there is no room.
    pub fn reset_all(&mut self, vms: &[(&Vm, &Writer)]) -> Result<Vec<Result<()>>> {
        if vms.is_empty() {
            return Ok(Vec::new());
        }
        let alone = Alone::enter(&self.paths)?;
        let _busy = Busy::enter(&self.paths)?;
        let backs = vms.iter().map(|(vm, writer)| self.begin_back(&alone, vm, writer)).collect();
        let mut backs = side_by_side(backs, |back| back.fresh.sync());
        for back in &mut backs {
            placed(back);
        }
        let backs = side_by_side(backs, |back| back.fresh.sync_place());
        fault::point("delta-replaced");
        let done = backs.into_iter().map(|back| self.record_back(&back?)).collect();
        self.inventory.sync()?;
        self.collect(&alone)?;
        Ok(done)
    }

    /// Makes the empty delta a VM is to have.
    fn begin_back<'a>(&mut self, alone: &Alone, vm: &'a Vm, writer: &Writer) -> Result<Back<'a>> {
        self.refuse_protected(&vm.record.name)?;
        self.settle(alone, vm, writer)?;
        let chain = self.chain(vm)?;
        let parent = goes_back_to(vm, &chain)?;
        let size = chain.top.size.max(parent.size);
        Ok(Back { vm, fresh: Fresh::create(&self.paths, vm, &parent, size)?, size })
    }

    fn record_back(&mut self, back: &Back<'_>) -> Result<()> {
        self.index_unsynced(back.vm)?;
        self.set_disk_size(back.vm, back.size)?;
        self.tell_of(back.vm, "reset", |it| it);
        Ok(())
    }
}

/// What a VM goes back to: what is below all it wrote since its last snapshot.
pub(super) fn goes_back_to(vm: &Vm, chain: &Chain) -> Result<Parent> {
    let mut above = &chain.top;
    for layer in chain.frozen.iter().rev() {
        if !layer.record()?.is_unsaved(&vm.record.id()) {
            return layer.as_parent();
        }
        above = &layer.heading;
    }
    match above.parent.kind {
        ParentKind::Base => Ok(Parent { visible: above.parent.size, ..above.parent.clone() }),
        ParentKind::Delta | ParentKind::Nothing => {
            let what = "it stands on nothing, so there is nothing to take it back to";
            let hint = format!("offshoot snapshot create {}, next time", vm.record.name);
            Err(Failure::usage(what).hint(hint).into())
        }
    }
}

/// Puts the delta of a VM that came so far in its place.
fn placed(back: &mut Result<Back<'_>>) {
    if let Ok(there) = back
        && let Err(error) = there.fresh.place()
    {
        *back = Err(error);
    }
}

/// Does something that waits for the disk to all that came so far.
fn side_by_side<'a>(
    backs: Vec<Result<Back<'a>>>,
    act: impl Fn(&Back<'a>) -> Result<()> + Sync,
) -> Vec<Result<Back<'a>>> {
    let results = parallel::each(&backs, |back| back.as_ref().map_or(Ok(()), &act));
    let pairs = backs.into_iter().zip(results);
    pairs.map(|(back, result)| back.and_then(|back| result.map(|()| back))).collect()
}
