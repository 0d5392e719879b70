//! Interrupt lines: eventfds that KVM turns into edges at the I/O APIC and the PIC.

use std::io;
use std::sync::Arc;

use devices::irq::Irq;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::error::{Error, Result};
use crate::vm::Vm;

/// An edge-triggered line into the machine's interrupt controllers.
struct Line(EventFd);

/// Connects a new line to pin `gsi` of `vm`.
pub fn line(vm: &Vm, gsi: u32) -> Result<Arc<dyn Irq>> {
    let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)
        .map_err(|source| Error::Host { attempt: "create an eventfd", source })?;
    vm.raise_on(&event, gsi)?;
    Ok(Arc::new(Line(event)))
}

impl Irq for Line {
    fn raise(&self) -> io::Result<()> {
        self.0.write(1)
    }
}
