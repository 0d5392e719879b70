//! Sealing a VM: what it changed and how it is set up, for somebody with the same base.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use blockdev::sealed::{Owned, Summary, seal};

use super::Store;
use super::clone::Source;
use super::image::Progress;
use super::settings::Settings;
use super::vm::Vm;
use super::writer::Writer;

impl Store {
    /// Writes a VM, or a snapshot with the settings of its VM, as a sealed file to `out`, which errors
    /// call `path`. `writer` says who writes to the VM's disk.
    ///
    /// # Errors
    /// There is none, its layers are damaged or not those it was made with, or `out` cannot be
    /// written. What has been written by then is of no use.
    pub fn export(
        &mut self,
        of: &Source,
        writer: impl Fn(&Vm) -> Result<Writer>,
        out: &mut dyn Write,
        path: &Path,
        progress: Progress<'_>,
    ) -> Result<Summary> {
        let open = |spec: &_| Ok(Owned::open(spec)?);
        self.read_still(of, writer, open, |_, vm, disk| {
            let settings = Settings::of(vm)?.encode()?;
            Ok(seal(&disk, settings.as_bytes(), out, path, progress)?)
        })
    }
}
