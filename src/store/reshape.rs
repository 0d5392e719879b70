//! Changing what a VM's disk is made of, while the VM runs or not; what its guest reads stays.
//!
//! Copying may take long, so nobody else is kept from the store's layers meanwhile: what could
//! disturb it cannot be done to layers that others stand on or have open. Only what was found
//! before and what is recorded after are under [`Alone`].

use anyhow::{Context, Result};
use blockdev::copy::Watch;
use blockdev::{Pace, Stack, StackSpec};
use vmm::layers::Operation;

use super::Store;
use super::clone::whole_sectors;
use super::fault;
use super::image::Image;
use super::layer::Alone;
use super::name::Name;
use super::vm::Vm;
use super::writer::Writer;
use crate::failure::Failure;

impl Store {
    /// Gives a VM's delta everything it needs from below: it stands on nothing then.
    ///
    /// # Errors
    /// It is ephemeral, there is no room, or `watch` broke it off; it can be begun again.
    pub fn flatten(&mut self, vm: &Vm, writer: &Writer, watch: Watch<'_>) -> Result<()> {
        if vm.record.ephemeral {
            let what = "it is ephemeral: at its next start it is to be what it stands on";
            let hint = format!("offshoot clone --full {}", vm.record.name);
            return Err(Failure::in_use(what).hint(hint).into());
        }
        self.settled(vm, writer)?;
        match writer {
            Writer::Nobody(_) => Stack::open(&self.stack(vm)?)?.flatten(Pace::Full, watch)?,
            Writer::Monitor(monitor) => monitor.perform(&Operation::Flatten {}, watch)?,
        }
        self.record(vm)?;
        self.tell_of(vm, "flattened", |it| it);
        Ok(())
    }

    /// Has a VM's delta stand directly on an image, and take up what reads otherwise there. The
    /// image has been [verified](Store::verify_image): what it holds is not compared here.
    ///
    /// # Errors
    /// There is no such image, there is no room, or `watch` broke it off; it can be begun again.
    pub fn rebase(
        &mut self,
        vm: &Vm,
        writer: &Writer,
        onto: &Name,
        watch: Watch<'_>,
    ) -> Result<()> {
        let image = self.image(onto)?;
        if self.stands_directly_on(vm, &image)? {
            // All of it was done but for the record, perhaps.
            return self.record_image(vm, &image);
        }
        let below = self.image_under(&vm.heading()?.parent)?;
        // A revert to where it stood on that image was broken off before its record said so.
        let below = below.filter(|below| below.record.digest == image.record.digest);
        let vm = &self.follow_image(vm, below.as_ref())?;
        self.settled(vm, writer)?;
        let below = StackSpec { base: Some(image.base()), ..StackSpec::default() };
        self.stand(vm, writer, &below, watch)?;
        self.record_image(vm, &image)?;
        let vm = self.vm(&vm.record.name)?;
        self.record(&vm)?;
        self.tell_of(&vm, "rebased", |it| it.with("onto", onto));
        Ok(())
    }

    fn stands_directly_on(&self, vm: &Vm, image: &Image) -> Result<bool> {
        Ok(vm.heading()?.parent.uuid == image.record.base.uuid)
    }

    /// Records which image a VM is of.
    fn record_image(&mut self, vm: &Vm, image: &Image) -> Result<()> {
        fault::point("rebased");
        let vm = self.edit_vm(vm, |record| record.image = Some(image.record.digest.clone()))?;
        let _alone = Alone::enter(&self.paths)?;
        self.index(&vm)
    }

    /// Has a VM's delta stand on the chain `below`, and take up what reads otherwise there.
    pub(super) fn stand(
        &self,
        vm: &Vm,
        writer: &Writer,
        below: &StackSpec,
        watch: Watch<'_>,
    ) -> Result<()> {
        match writer {
            Writer::Nobody(_) => {
                Ok(Stack::open(&self.stack(vm)?)?.rebase(below, Pace::Full, watch)?)
            }
            Writer::Monitor(monitor) => {
                monitor.perform(&Operation::Rebase { below: below.clone() }, watch)
            }
        }
    }

    /// Gives the space of zeroes in a VM's delta back to the host.
    ///
    /// # Errors
    /// The file cannot be read, or `watch` broke it off; nothing is lost.
    pub fn compact(&mut self, vm: &Vm, writer: &Writer, watch: Watch<'_>) -> Result<()> {
        self.settled(vm, writer)?;
        match writer {
            Writer::Nobody(_) => {
                Stack::open(&self.stack(vm)?)?.compact(Pace::Full, watch)?;
                Ok(())
            }
            Writer::Monitor(monitor) => monitor.perform(&Operation::Compact {}, watch),
        }
    }

    /// Gives a VM's disk another length, in whole sectors; a guest that runs is told.
    ///
    /// # Errors
    /// It would become shorter and not `shrink`, or while a guest runs; or the size cannot be.
    pub fn resize(&mut self, vm: &Vm, writer: &Writer, size: u64, shrink: bool) -> Result<()> {
        let size = whole_sectors(size)?;
        self.settled(vm, writer)?;
        let now = vm.heading()?.size;
        if size < now && !shrink {
            let what = format!("its disk of {now} bytes would lose what is behind {size}");
            return Err(Failure::in_use(what).hint("--force, if nothing of use is there").into());
        }
        match writer {
            Writer::Nobody(_) => blockdev::resize(&vm.delta(), size, shrink)?,
            Writer::Monitor(_) if size < now => {
                let what = "it is running, and only a stopped VM's disk can become smaller";
                let hint = format!("offshoot stop {}", vm.record.name);
                return Err(Failure::in_use(what).hint(hint).into());
            }
            Writer::Monitor(monitor) => monitor.grow(size)?,
        }
        fault::point("resized");
        self.set_disk_size(vm, size)?;
        self.record(vm)?;
        self.tell_of(vm, "resized", |it| it.with("size", size));
        Ok(())
    }

    /// Completes what a crash left undone, before something that takes long.
    pub(super) fn settled(&mut self, vm: &Vm, writer: &Writer) -> Result<()> {
        let alone = Alone::enter(&self.paths)?;
        if let Writer::Monitor(monitor) = writer {
            monitor.refuse_busy()?;
        }
        self.settle(&alone, vm, writer)
    }

    /// Records what a VM's chain has become, and removes what nobody needs any more.
    pub(super) fn record(&mut self, vm: &Vm) -> Result<()> {
        fault::point("reshaped");
        let alone = Alone::enter(&self.paths)?;
        self.index(vm)?;
        fault::point("reshape-indexed");
        let collected = self.collect(&alone);
        collected.map(drop).context("it is done, but layers nobody needs are left")
    }
}
