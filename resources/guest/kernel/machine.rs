//! What the machine has: found once, before the orders.

use alloc::string::String;
use alloc::vec::Vec;

use crate::acpi::Acpi;
use crate::blk::Disk;
use crate::boot::Boot;
use crate::cmdline;
use crate::cpu::Cpu;
use crate::orders::Io;
use crate::power::fail;
use crate::virtio::mmio::{Kind, Registers};

/// The machine, and the disk that is open.
pub struct Machine {
    pub cpu: &'static Cpu,
    pub boot: Boot,
    pub acpi: Acpi,
    /// The devices of ACPI and of the command line, by address.
    pub devices: Vec<Registers>,
    open: Option<(Shape, Disk)>,
}

/// What of [`Io`] a disk must be opened anew for.
type Shape = (usize, usize, usize, usize, u64);

impl Machine {
    /// # Safety
    /// `boot` says the truth of where ACPI's tables are.
    pub unsafe fn find(cpu: &'static Cpu, boot: Boot) -> Machine {
        // SAFETY: as the caller's.
        let acpi = unsafe { Acpi::read(boot.rsdp) };
        let mut windows = acpi.windows.clone();
        windows.extend(cmdline::windows(&boot.cmdline));
        windows.sort_by_key(|window| window.base);
        windows.dedup_by_key(|window| window.base);
        let devices = windows.into_iter().map(|window| Registers { window }).collect();
        Machine { cpu, boot, acpi, devices, open: None }
    }

    /// The orders on the command line.
    pub fn orders(&self) -> String {
        cmdline::orders(&self.boot.cmdline)
    }

    /// The first device of this kind, after `skip` of them.
    pub fn device(&self, kind: Kind, skip: usize) -> Registers {
        let of_kind = |device: &Registers| device.kind() == Some(kind);
        match self.devices.iter().copied().filter(of_kind).nth(skip) {
            Some(device) => device,
            None => fail!(Device, "there is no {kind:?} device number {skip}"),
        }
    }

    /// The disk of `io`, open.
    pub fn disk(&mut self, io: &Io) -> &Disk {
        let shape = (io.disk, io.cpus, io.queues, io.depth, io.size);
        if self.open.as_ref().is_none_or(|(open, _)| *open != shape) {
            let disk = Disk::open(self.device(Kind::Block, io.disk), io);
            self.open = Some((shape, disk));
        }
        &self.open.as_ref().expect("just opened").1
    }
}
