//! Who writes to a VM's disk: whoever changes its layers has to agree with them.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use blockdev::copy::Watch;
use vmm::layers::Operation;

use super::lock::Lock;

/// How long a guest's writes waited, where one runs.
pub type Pause = Option<Duration>;

/// Who writes to a VM's disk.
pub enum Writer {
    /// Nobody, and nobody can begin to.
    Nobody(#[expect(dead_code, reason = "it is held")] Lock),
    /// Its monitor.
    Monitor(Box<dyn Online>),
}

/// The monitor of a running VM, asked to change the layers of its disk.
pub trait Online {
    /// Has it freeze its top layer and go on with the delta at this path.
    ///
    /// # Errors
    /// It does not answer, or cannot. The files tell what happened.
    fn go_on(&self, delta: &Path) -> Result<Duration>;

    /// Has it make its disk this many bytes long, and tell the guest.
    ///
    /// # Errors
    /// It does not answer, or cannot.
    fn grow(&self, size: u64) -> Result<()>;

    /// Refuses to go on while it works on its layers already.
    ///
    /// # Errors
    /// It does, or does not answer.
    fn refuse_busy(&self) -> Result<()>;

    /// Has it do this with its layers, and waits for the end of it.
    ///
    /// # Errors
    /// It does not answer, cannot, or `watch` broke it off: its disk reads as it did.
    fn perform(&self, operation: &Operation, watch: Watch<'_>) -> Result<()>;
}
