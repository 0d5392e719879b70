//! Disks that nobody changes while they are read: to be exported, or served read-only.
//!
//! | of what | what keeps it as it is |
//! |---|---|
//! | a VM that does not run | its lock, shared by all who read; the locks on its layers |
//! | a snapshot | the locks on its layers: it never changes, and stays while it is open |
//! | a VM that runs | the same: it is a snapshot, which goes when it has been read |

use std::ops::ControlFlow;

use anyhow::{Context, Result};
use blockdev::StackSpec;

use super::Store;
use super::clone::Source;
use super::layer::{Alone, Layer, MOMENTARY};
use super::lock::Lock;
use super::name::Name;
use super::vm::Vm;
use super::writer::Writer;
use crate::failure::{self, Code, Failure};

/// What the snapshots are called that are made to read a VM that runs; a number follows.
const PREFIX: &str = "export-";

impl Store {
    /// Refuses to go on where there is no such VM or snapshot.
    ///
    /// # Errors
    /// There is none.
    pub fn refuse_unknown(&self, of: &Source) -> Result<()> {
        let vm = self.vm(&of.name)?;
        of.snapshot.as_ref().map_or(Ok(()), |name| self.snapshot(&vm, name).map(drop))
    }

    /// Opens the disk of `of` with `open`, and has `read` read it. Of a VM that runs it is the disk as a
    /// power cut would leave it now.
    ///
    /// # Errors
    /// There is none of this name, its layers are damaged, `writer` refuses it, or `open` or `read`
    /// fails. Where a snapshot that was made for this cannot be removed it is named.
    pub fn read_still<T, R>(
        &mut self,
        of: &Source,
        writer: impl Fn(&Vm) -> Result<Writer>,
        open: impl FnOnce(&StackSpec) -> Result<T>,
        read: impl FnOnce(&Store, &Vm, T) -> Result<R>,
    ) -> Result<R> {
        let vm = self.vm(&of.name)?;
        if let Some(snapshot) = &of.snapshot {
            let disk = self.open_snapshot(&vm, snapshot, open)?;
            return read(self, &vm, disk);
        }
        if vm.record.ephemeral
            && let Ok(lock) = Lock::take(&vm.dir)
        {
            let alone = Alone::enter(&self.paths)?;
            self.settle(&alone, &vm, &Writer::Nobody(lock))?;
        }
        match Lock::share(&vm.dir) {
            Ok(_lock) => read(self, &vm, open(&self.with_top(&vm)?).map_err(lost)?),
            Err(error) => match writer(&vm)? {
                Writer::Nobody(_) => Err(error),
                monitor @ Writer::Monitor(_) => {
                    let name = self.momentary_name(&vm)?;
                    self.take_snapshot(&vm, &monitor, Some(name.clone()), MOMENTARY.into())?;
                    let disk = self.open_snapshot(&vm, &name, open);
                    let result = disk.and_then(|disk| read(self, &vm, disk));
                    self.forget(&vm, &name, writer).and(result)
                }
            },
        }
    }

    /// All layers of a VM nobody writes to, its own on top of the others, to be read by several.
    fn with_top(&self, vm: &Vm) -> Result<StackSpec> {
        let mut spec = self.chain(vm)?.below();
        spec.frozen.push(vm.delta());
        // Its own may change afterwards without another name.
        spec.owners = None;
        Ok(spec)
    }

    fn open_snapshot<T>(
        &self,
        vm: &Vm,
        name: &Name,
        open: impl FnOnce(&StackSpec) -> Result<T>,
    ) -> Result<T> {
        // Until they are open somebody could remove or merge them.
        let _alone = Alone::enter(&self.paths)?;
        let layer = self.layer(self.snapshot(vm, name)?.uuid)?;
        layer.as_parent()?;
        open(&self.up_to(layer)?).map_err(lost)
    }

    /// A frozen layer and what it stands on.
    fn up_to(&self, layer: Layer) -> Result<StackSpec> {
        let mut chain = self.chain_below(layer.heading.clone())?;
        chain.frozen.push(layer);
        Ok(chain.below())
    }

    fn momentary_name(&self, vm: &Vm) -> Result<Name> {
        let taken: Vec<_> =
            self.snapshots(vm)?.into_iter().filter_map(|layer| layer.name).collect();
        let names = (1..=u64::MAX).map(|number| format!("{PREFIX}{number}"));
        let free = names.into_iter().find(|name| taken.iter().all(|taken| taken.as_str() != name));
        Ok(free.context("there is always another number")?.parse()?)
    }

    /// Removes a snapshot that was made for a moment, and does not let itself be broken off.
    fn forget(
        &mut self,
        vm: &Vm,
        name: &Name,
        writer: impl Fn(&Vm) -> Result<Writer>,
    ) -> Result<()> {
        let removed = self.remove_snapshot(vm, name, writer, &mut |_, _| ControlFlow::Continue(()));
        removed.map(drop).map_err(|error| {
            let vm = &vm.record.name;
            let what = format!("the snapshot {name} that was made for it stays");
            let code = failure::code(&error);
            error
                .context(Failure::new(code, what).hint(format!("offshoot snapshot rm {vm} {name}")))
        })
    }
}

/// A layer of a disk that exists is not looked for, it is lost.
fn lost(error: anyhow::Error) -> anyhow::Error {
    match failure::code(&error) {
        Code::NotFound => {
            error.context(Failure::new(Code::Integrity, "a layer of its disk is gone"))
        }
        _ => error,
    }
}
