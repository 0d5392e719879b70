//! What the machine has: found once, before the orders.
#![allow(unsafe_code, reason = "a page is given to starting processors")]

use alloc::string::String;
use alloc::vec::Vec;

use crate::acpi::Acpi;
use crate::apic;
use crate::blk::Disk;
use crate::boot::Boot;
use crate::cmdline;
use crate::cpu::Cpu;
use crate::layout::TRAMPOLINE;
use crate::orders::Io;
use crate::power::fail;
use crate::smp;
use crate::virtio::mmio::{Kind, Registers};

/// The machine, and the disk that is open.
pub struct Machine {
    pub cpu: &'static Cpu,
    pub boot: Boot,
    pub acpi: Acpi,
    /// The devices of ACPI and of the command line, by address.
    pub devices: Vec<Registers>,
    /// With what it was opened for.
    open: Option<(Io, Disk)>,
}

impl Machine {
    /// Looks for what `boot` leads to.
    pub fn find(cpu: &'static Cpu, boot: Boot) -> Machine {
        let acpi = Acpi::read(boot.rsdp);
        let mut windows = acpi.windows.clone();
        windows.extend(cmdline::windows(&boot.cmdline));
        windows.sort_unstable_by_key(|window| window.base);
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

    /// The disk of `io`, open, and the processors of `io`, running.
    pub fn disk(&mut self, io: &Io) -> &Disk {
        self.start_cpus(io.cpus);
        if self.open.as_ref().is_none_or(|(open, _)| open != io) {
            let registers = self.device(Kind::Block, io.disk);
            if io.interrupts {
                apic::route(&self.acpi.io_apics, registers.window.gsi);
            }
            self.open = Some((io.clone(), Disk::open(registers, io)));
        }
        &self.open.as_ref().expect("just opened").1
    }

    /// Forgets the open disk: somebody else drove it.
    pub fn close_disk(&mut self) {
        self.open = None;
    }

    /// Starts processors until so many run.
    pub fn start_cpus(&self, wanted: usize) {
        if smp::online() >= wanted {
            return;
        }
        if smp::online() == 1 {
            let page = TRAMPOLINE as u64;
            if !self.boot.is_ram(page, page + 0x1000) {
                fail!(Device, "no RAM at {page:#x} for processors to start");
            }
            // SAFETY: it is RAM, and what the monitor left there was read.
            unsafe { smp::open() };
        }
        let own = apic::id();
        for &id in self.acpi.cpus.iter().filter(|&&id| id != own).skip(smp::online() - 1) {
            if smp::online() < wanted {
                smp::start(id);
            }
        }
        if smp::online() < wanted {
            fail!(Orders, "there are {} processors, not {wanted}", smp::online());
        }
    }
}
