//! Whether images and VMs are what they were: everything that can be told without starting them.

use anyhow::{Context, Result};
use blockdev::{ErrorKind, Stack, StackSpec, delta};

use super::Store;
use super::image::{Image, Progress};
use super::inventory::Place;
use super::lock::{self, Lock};
use super::name::Name;
use super::vm::Vm;
use crate::failure::{Code, Failure};

impl Store {
    /// Checks an image or a VM, which may run: that its record, every layer's header, bitmap and
    /// length are sound, that each layer stands on the very one it was made on, and that the base
    /// was not touched. `deep` reads all of the image, too, and compares digests; `progress` is
    /// told of that.
    ///
    /// # Errors
    /// The first thing that is wrong, with [`Code::Integrity`]; or there is nothing of this name,
    /// or a commit under way keeps it from being looked at.
    pub fn check(&self, name: &Name, deep: bool, progress: Progress<'_>) -> Result<()> {
        match self.inventory.find(name)? {
            Place::Image(_) => self.check_image(name, deep, progress),
            Place::Vm(_) => self.check_vm(&self.vm(name)?, deep, progress),
        }
    }

    fn check_image(&self, name: &Name, deep: bool, progress: Progress<'_>) -> Result<()> {
        let image = self.image(name)?;
        whole(&image)?;
        if deep {
            self.verify_image(name, progress)?;
        }
        Ok(())
    }

    fn check_vm(&self, vm: &Vm, deep: bool, progress: Progress<'_>) -> Result<()> {
        let chain = self.chain(vm)?;
        for layer in &chain.frozen {
            layer.record()?;
            delta::inspect(&layer.delta())?;
        }
        delta::inspect(&vm.delta())?;
        let below = chain.below();
        match Lock::take(&vm.dir) {
            Ok(lock) => {
                self.settle_stopped(vm, &lock)?;
                open(&StackSpec { delta: Some(vm.delta()), ..below })?;
            }
            // What it runs on was checked when it started; nobody can have changed it since but
            // behind everybody's back.
            Err(_)
                if lock::look(&vm.dir)?.held
                    && (below.base.is_some() || !below.frozen.is_empty()) =>
            {
                open(&below)?;
            }
            Err(_) if lock::look(&vm.dir)?.held => {}
            Err(error) => return Err(error),
        }
        vm.seed()?;
        if let Some(image) = self.image_of(vm)? {
            whole(&image)?;
            if deep {
                self.verify_image(&image.record.name, progress)?;
            }
        }
        Ok(())
    }
}

/// That an image's files are there, and its base is by all signs what was imported.
fn whole(image: &Image) -> Result<()> {
    blockdev::base::source(&image.base()).map_err(lost)?;
    for path in [image.kernel(), image.initrd()].into_iter().flatten() {
        let there = path.metadata().map(drop);
        there.with_context(|| {
            Failure::new(Code::Integrity, format!("cannot use {}", path.display()))
        })?;
    }
    Ok(())
}

fn open(stack: &StackSpec) -> Result<()> {
    Stack::open(stack).map(drop).map_err(lost)
}

/// A file of an image or a VM that is there is not looked for, it is lost.
fn lost(error: blockdev::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => {
            anyhow::Error::new(error).context(Failure::new(Code::Integrity, "a file is missing"))
        }
        _ => error.into(),
    }
}
