//! Finding a VM's chain: from its delta's header from parent to parent, by uuid, down to an image.
//!
//! ```text
//!   vms/<id>/delta ──parent──► layers/<uuid>/delta ──parent──► ... ──parent──► images/<digest>/base
//! ```
//! Each header is read once, and nothing in one says where another is.

use std::collections::BTreeSet;

use anyhow::Result;
use blockdev::StackSpec;
use blockdev::base::Digest;
use blockdev::delta::{Heading, Parent, ParentKind};
use uuid::Uuid;

use super::Store;
use super::image::Image;
use super::layer::Layer;
use super::paths::load;
use super::vm::{self, Vm};
use crate::failure::{Code, Failure};

/// Frozen layers in a chain at most, as [`blockdev`] has it.
pub(super) const DEEPEST: usize = 1000;

/// What a VM's disk is made of.
#[derive(Clone, Debug)]
pub struct Chain {
    /// At the bottom; none where the lowest layer needs nothing below it.
    pub image: Option<Image>,
    /// From the bottom up.
    pub frozen: Vec<Layer>,
    /// What the VM's own delta says.
    pub top: Heading,
}

impl Store {
    /// The layers of a VM's disk, for [`blockdev::Stack::open`].
    ///
    /// # Errors
    /// As [`chain`](Store::chain).
    pub fn stack(&self, vm: &Vm) -> Result<StackSpec> {
        let mut spec = self.chain(vm)?.below();
        spec.delta = Some(vm.delta());
        Ok(spec)
    }

    /// The layers of a VM's disk.
    ///
    /// # Errors
    /// One is missing, damaged or another one, stands on itself, or stands on another image than
    /// the VM is of; or there are too many.
    pub fn chain(&self, vm: &Vm) -> Result<Chain> {
        let top = vm.heading()?;
        let chain = self.chain_below(top)?;
        match &chain.image {
            Some(image) if !says_so(vm, &image.record.digest)? => {
                let other = &image.record.name;
                let what = format!("its disk stands on image {other}, its record says another");
                let hint = format!("offshoot rebase {} --onto {other}", vm.record.name);
                Err(Failure::new(Code::Integrity, what).hint(hint).into())
            }
            _ => Ok(chain),
        }
    }

    /// What is below a delta.
    pub(super) fn chain_below(&self, top: Heading) -> Result<Chain> {
        let mut frozen = Vec::new();
        let mut seen = BTreeSet::from([top.uuid]);
        let mut parent = top.parent.clone();
        while parent.kind == ParentKind::Delta {
            if !seen.insert(parent.uuid) {
                let what = format!("layer {} stands on itself", parent.uuid);
                return Err(Failure::new(Code::Integrity, what).hint("offshoot doctor").into());
            }
            if frozen.len() == DEEPEST {
                let what = format!("it stands on more than {DEEPEST} layers");
                return Err(Failure::new(Code::Integrity, what).into());
            }
            let layer = self.layer(parent.uuid)?;
            parent = layer.heading.parent.clone();
            frozen.push(layer);
        }
        frozen.reverse();
        Ok(Chain { image: self.image_below(&parent)?, frozen, top })
    }

    /// The image under everything that is below, if there is one.
    pub(super) fn image_under(&self, parent: &Parent) -> Result<Option<Image>> {
        match parent.kind {
            ParentKind::Delta => Ok(self.chain_below(self.layer(parent.uuid)?.heading)?.image),
            ParentKind::Base | ParentKind::Nothing => self.image_below(parent),
        }
    }

    fn image_below(&self, parent: &Parent) -> Result<Option<Image>> {
        if parent.kind == ParentKind::Nothing {
            return Ok(None);
        }
        let missing = || {
            let what = format!("there is no image with the base {} it stands on", parent.uuid);
            Failure::new(Code::Integrity, what).hint("offshoot image ls; offshoot doctor")
        };
        let digest = self.inventory.image_on(parent.uuid)?.ok_or_else(missing)?;
        let image = self.image_with(&digest)?;
        if image.record.base.uuid != parent.uuid {
            return Err(missing().into());
        }
        Ok(Some(image))
    }
}

impl Chain {
    /// All but the VM's own delta, as a disk that is only read.
    pub fn below(&self) -> StackSpec {
        StackSpec {
            base: self.image.as_ref().map(Image::base),
            frozen: self.frozen.iter().map(Layer::delta).collect(),
            owners: self.frozen.last().map(Layer::owners),
            ..StackSpec::default()
        }
    }
}

/// Whether a VM's record says that it is of this image; as it was read, or as it is by now.
fn says_so(vm: &Vm, image: &Digest) -> Result<bool> {
    let is_it = |record: &vm::Record| record.image.as_ref() == Some(image);
    Ok(is_it(&vm.record) || is_it(&load(&vm.dir.join(vm::RECORD))?))
}

/// What a layer stands on, as the inventory has it.
pub(super) fn parent_of(heading: &Heading) -> Option<Uuid> {
    (heading.parent.kind != ParentKind::Nothing).then_some(heading.parent.uuid)
}

#[cfg(test)]
mod tests;
