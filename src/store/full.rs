//! Full clones: a copy of the whole disk, and of what it boots. They need nothing of their source.
//!
//! Each is made as a linked clone in `tmp/` and flattened there, so what is a hole in the source is
//! one in the copy, and filesystems that can, share the blocks. It appears when it is whole and
//! durable.

use std::path::PathBuf;

use anyhow::Result;
use blockdev::copy::Watch;
use blockdev::delta;
use blockdev::{Pace, Stack, StackSpec};

use super::Store;
use super::blank::{Blank, share};
use super::clone::{CloneRequest, Clones, Origin, disk_size};
use super::customize::Script;
use super::draft::Busy;
use super::home;
use super::image::{self, Image};
use super::layer::{Alone, sync_file};
use super::vm::{DELTA, Vm};
use super::writer::Writer;

impl Store {
    /// Makes full clones of an image, of a snapshot, or of a VM as it is now: all of them, or none.
    /// `writer` says who writes to a VM's disk. `watch` is told of each copy anew.
    ///
    /// # Errors
    /// As for [`clone`](Store::clone), or `watch` broke it off. Nothing is left behind.
    pub fn clone_fully(
        &mut self,
        request: &CloneRequest,
        writer: impl Fn(&Vm) -> Result<Writer>,
        watch: Watch<'_>,
    ) -> Result<Clones> {
        let said = request.names.said();
        said.iter().try_for_each(|(name, _)| self.inventory.refuse_taken(name))?;
        request.refuse_unusable_dir(&self.paths)?;
        let mut origin = self.origin(&request.source, writer)?;
        // Before much is copied.
        let (asked, keep) = (request.spec.as_ref(), request.keep_identity);
        Script::new(&self.paths, asked, keep, origin.settings.as_ref())?;
        let size = disk_size(origin.size, request.disk_size)?;
        self.take_boot(&mut origin)?;
        let _busy = Busy::enter(&self.paths)?;
        let blanks = self.copies(&mut origin, size, request, watch)?;
        let vms = self.publish_clones(blanks, &origin, size, request)?;
        vms.iter().try_for_each(|vm| self.sync_vm(vm))?;
        Ok(Clones { vms, of_running: origin.of_running })
    }

    /// As many copies as are asked for. From the first on others may change what there is.
    fn copies(
        &self,
        origin: &mut Origin,
        size: u64,
        request: &CloneRequest,
        watch: Watch<'_>,
    ) -> Result<Vec<Blank>> {
        let mut copies = Vec::new();
        let mut below = None;
        for () in request.names.each() {
            let blank = Blank::linked(&self.paths, origin, size, request)?;
            let path = home::file(&blank.draft.file(DELTA));
            let chain = self.chain_below(delta::heading(&path)?)?.below();
            if below.is_none() {
                // Layers stay while they are open.
                below = Some(Stack::open(&chain)?);
                origin.alone = None;
            }
            let spec = StackSpec { delta: Some(path), ..chain };
            Stack::open(&spec)?.flatten(Pace::Full, watch)?;
            copies.push(Blank { parent: None, ..blank });
        }
        Ok(copies)
    }

    /// Makes a linked clone a full one, while it runs or not: it needs nothing of what it stands on
    /// and boots out of its own directory.
    ///
    /// # Errors
    /// As for [`flatten`](Store::flatten).
    pub fn promote(&mut self, vm: &Vm, writer: &Writer, watch: Watch<'_>) -> Result<()> {
        self.flatten(vm, writer, watch)?;
        let Some(image) = self.image_of(vm)? else { return Ok(()) };
        if !vm.is_self_booting() {
            // In this order it boots the same after each step.
            self.edit_vm(vm, |record| {
                let usual = image.record.cmdline.clone();
                record.boot.cmdline = record.boot.cmdline.take().or(usual);
            })?;
            let mut files = boot_files(&image);
            files.retain(|(name, _)| vm.own(name).is_none());
            share(&vm.dir, &files)?;
            files.iter().try_for_each(|(name, _)| sync_file(&vm.dir.join(name)))?;
        }
        let vm = self.edit_vm(vm, |record| record.image = None)?;
        let _alone = Alone::enter(&self.paths)?;
        self.index(&vm)
    }

    /// Has the clones boot what the source does, but out of their own directories.
    fn take_boot(&self, origin: &mut Origin) -> Result<()> {
        let Some(digest) = origin.image.take() else { return Ok(()) };
        if origin.own_files.iter().any(|(name, _)| *name == image::KERNEL) {
            return Ok(());
        }
        let image = self.image_with(&digest)?;
        origin.own_files = boot_files(&image);
        origin.cmdline = image.record.cmdline;
        Ok(())
    }
}

/// What clones of an image boot, the kernel last: its presence says that all of it is there.
fn boot_files(image: &Image) -> Vec<(&'static str, PathBuf)> {
    let files = [(image::INITRD, image.initrd()), (image::KERNEL, image.kernel())];
    files.into_iter().filter_map(|(name, path)| Some((name, path?))).collect()
}
