//! Giving a VM an empty delta in place of the one it has.

use std::fs;

use anyhow::{Context, Result};
use blockdev::delta::Parent;
use uuid::Uuid;

use super::Store;
use super::draft::Busy;
use super::fault;
use super::layer::sync_file;
use super::paths::sync_dir;
use super::vm::Vm;

impl Store {
    /// Puts an empty delta of a disk of `size` bytes on `parent` in the place of a VM's own,
    /// durably. It takes effect with one rename; what was there is gone unless it has another
    /// name, too.
    ///
    /// # Errors
    /// It cannot be made: the old one is still there. Or the directory cannot be synced.
    pub(super) fn renew(&self, vm: &Vm, parent: &Parent, size: u64) -> Result<()> {
        let _busy = Busy::enter(&self.paths)?;
        let draft = self.paths.tmp().join(format!("delta-{}", Uuid::new_v4().simple()));
        blockdev::delta::create(&draft, size, parent)?;
        fault::point("delta-made");
        let replace = || {
            sync_file(&draft)?;
            let to = vm.delta();
            fs::rename(&draft, &to).with_context(|| format!("cannot replace {}", to.display()))
        };
        if let Err(error) = replace() {
            let _ = fs::remove_file(&draft);
            return Err(error);
        }
        sync_dir(&vm.dir)?;
        fault::point("delta-replaced");
        Ok(())
    }
}
