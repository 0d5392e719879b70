//! Sealing a VM: what it changed and how it is set up, for somebody with the same base.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use blockdev::sealed::{Owned, Summary, seal};
use blockdev::{ErrorKind, StackSpec};

use super::image::Progress;
use super::lock::Lock;
use super::settings::Settings;
use super::{Name, Store};
use crate::failure::{Code, Failure};

impl Store {
    /// Writes the VM of this name as a sealed file to `out`, which errors call `path`.
    ///
    /// # Errors
    /// There is none, it runs, its layers are damaged or not those it was made with, or `out`
    /// cannot be written. What has been written by then is of no use.
    pub fn export(
        &self,
        name: &Name,
        out: &mut dyn Write,
        path: &Path,
        progress: Progress<'_>,
    ) -> Result<Summary> {
        let vm = self.vm(name)?;
        let lock = Lock::take(&vm.dir)?;
        self.settle_stopped(&vm, &lock)?;
        let settings = Settings::of(&vm)?.encode()?;
        let source = open(&self.stack(&vm)?)?;
        Ok(seal(&source, settings.as_bytes(), out, path, progress)?)
    }
}

fn open(stack: &StackSpec) -> Result<Owned> {
    Owned::open(stack).map_err(|error| match error.kind() {
        // A layer of a disk that exists is not looked for, it is lost.
        ErrorKind::NotFound => anyhow::Error::new(error)
            .context(Failure::new(Code::Integrity, "a layer of its disk is gone")),
        _ => error.into(),
    })
}
