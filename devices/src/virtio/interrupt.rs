//! What a device's workers tell its driver: the interrupt status register and the line.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use virtio_bindings::virtio_mmio::{VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING};

use crate::irq::Irq;
use crate::limit::LogLimit;

/// Interrupt status (spec 4.2.2, InterruptStatus) and DEVICE_NEEDS_RESET, shared between the
/// transport and the workers.
///
/// A status bit is set before the line is raised, and the driver clears it before it looks for
/// work, so with an edge-triggered line nothing is missed.
pub struct Interrupt {
    line: Arc<dyn Irq>,
    status: AtomicU32,
    needs_reset: AtomicBool,
    /// Names the device in log lines.
    name: String,
    complaints: LogLimit,
}

impl Interrupt {
    /// The way to the driver of the device `name`, over `line`.
    #[must_use]
    pub fn new(name: &str, line: Arc<dyn Irq>) -> Self {
        Interrupt {
            line,
            status: AtomicU32::new(0),
            needs_reset: AtomicBool::new(false),
            name: name.to_owned(),
            complaints: LogLimit::default(),
        }
    }

    /// Tells the driver that there is something in a used ring.
    pub fn used_buffers(&self) {
        self.raise(VIRTIO_MMIO_INT_VRING);
    }

    /// Tells the driver to read the configuration again.
    pub(super) fn config_changed(&self) {
        self.raise(VIRTIO_MMIO_INT_CONFIG);
    }

    /// Tells the driver that the device cannot go on before a reset (spec 2.1.2), and the log why.
    pub fn needs_reset(&self, why: &(dyn Error + 'static)) {
        self.complain("the driver must reset it", why);
        self.needs_reset.store(true, Ordering::SeqCst);
        self.raise(VIRTIO_MMIO_INT_CONFIG);
    }

    /// Logs what went wrong, with its causes, unless something did a moment ago.
    pub fn complain(&self, what: &str, why: &(dyn Error + 'static)) {
        self.complaints.warn(|| {
            let causes = std::iter::successors(Some(why), |&error| error.source());
            causes.fold(format!("{}: {what}", self.name), |line, error| format!("{line}: {error}"))
        });
    }

    fn raise(&self, bit: u32) {
        self.status.fetch_or(bit, Ordering::SeqCst);
        if let Err(error) = self.line.raise() {
            self.complain("cannot interrupt the guest", &error);
        }
    }

    pub(super) fn status(&self) -> u32 {
        self.status.load(Ordering::SeqCst)
    }

    pub(super) fn acknowledge(&self, bits: u32) {
        self.status.fetch_and(!bits, Ordering::SeqCst);
    }

    pub(super) fn is_reset_needed(&self) -> bool {
        self.needs_reset.load(Ordering::SeqCst)
    }

    /// Back to the state after a device reset. No worker may be running.
    pub(super) fn reset(&self) {
        self.status.store(0, Ordering::SeqCst);
        self.needs_reset.store(false, Ordering::SeqCst);
    }
}
