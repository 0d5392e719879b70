//! vCPUs: made and given their first state here, run by [`crew`].
//!
//! What happens in the guest comes out of [`Cpu::run`] as an [`Exit`] value; which device answers
//! is not known here.

pub mod crew;
pub mod exit;

mod cpuid;
mod msr;
mod page;
mod regs;

use std::sync::Arc;

use kvm_bindings::{CpuId, kvm_lapic_state};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};

use crate::boot::{Entry, Protocol};
use crate::error::{Attempt, Error, Result};
use crate::memory::GuestMemory;
use exit::Exit;
use page::Page;

/// One vCPU outside the guest.
#[derive(Debug)]
pub struct Cpu {
    index: u8,
    fd: VcpuFd,
    page: Arc<Page>,
}

/// What is the same for all vCPUs of a machine.
pub struct Template {
    supported: CpuId,
    tsc_deadline: bool,
    count: u16,
}

impl Template {
    /// Asks KVM what its vCPUs can be.
    pub fn new(kvm: &Kvm, count: u16) -> Result<Template> {
        let supported = kvm
            .get_supported_cpuid(cpuid::MAX_ENTRIES)
            .or_refused("say which processor features it supports")?;
        let tsc_deadline = kvm.check_extension(Cap::TscDeadlineTimer);
        Ok(Template { supported, tsc_deadline, count })
    }

    /// Makes vCPU `index` of `vm`, which waits for the first one to start it. The interrupt
    /// controllers must exist.
    pub fn create(&self, vm: &VmFd, index: u8) -> Result<Cpu> {
        let fd = vm.create_vcpu(index.into()).or_refused("create a vCPU")?;
        let table = cpuid::table(&self.supported, index, self.count, self.tsc_deadline);
        fd.set_cpuid2(&table).or_refused("set a vCPU's CPUID")?;
        let msrs = msr::at_boot();
        let set = fd.set_msrs(&msrs).or_refused("set a vCPU's MSRs")?;
        if let Some(refused) = msrs.as_slice().get(set) {
            log::warn!("KVM does not take MSR {:#x}; the guest may miss it", refused.index);
        }
        let mut lapic = fd.get_lapic().or_refused("read a local APIC")?;
        wire_local_interrupts(&mut lapic);
        fd.set_lapic(&lapic).or_refused("set a local APIC")?;
        let page = Page::map(&fd)
            .map_err(|source| Error::Host { attempt: "map a vCPU's shared page", source })?;
        Ok(Cpu { index, fd, page: Arc::new(page) })
    }
}

impl Cpu {
    /// Puts this vCPU, the first one, at the kernel's entry point.
    pub fn enter(&self, entry: &Entry, memory: &GuestMemory) -> Result<()> {
        let mut sregs = self.fd.get_sregs().or_refused("read a vCPU's registers")?;
        let regs = match entry.protocol {
            Protocol::Linux64 => regs::linux64(entry.rip, entry.params, &mut sregs, memory)?,
            Protocol::Pvh => regs::pvh(entry.rip, entry.params, &mut sregs),
        };
        self.fd.set_sregs(&sregs).or_refused("set a vCPU's system registers")?;
        self.fd.set_regs(&regs).or_refused("set a vCPU's registers")
    }

    /// Which one it is: its APIC id.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// The guest's instruction pointer.
    pub fn rip(&self) -> u64 {
        self.fd.get_regs().map_or(0, |regs| regs.rip)
    }

    /// Tells a guest that keeps time by kvmclock that it was stopped, so that its watchdogs do not
    /// take a pause for a hang.
    pub fn excuse_absence(&self) {
        // Refused for a guest without kvmclock, which is not told then.
        let _ = self.fd.kvmclock_ctrl();
    }

    /// Runs the guest until it needs something. A port or memory access counts as done at the
    /// next call, so a vCPU whose state matters is called once more, kicked.
    pub fn run(&mut self) -> Exit<'_> {
        exit::decode(self.fd.run(), &self.page)
    }
}

/// LINT0 takes the PIC's interrupts and LINT1 is NMI, as the MultiProcessor Specification 1.4,
/// section 3.6.2.2, has the firmware leave them.
fn wire_local_interrupts(lapic: &mut kvm_lapic_state) {
    const LINT0: usize = 0x350;
    const LINT1: usize = 0x360;
    const EXT_INT: u32 = 0x700;
    const NMI: u32 = 0x400;
    for (register, mode) in [(LINT0, EXT_INT), (LINT1, NMI)] {
        for (byte, value) in lapic.regs[register..].iter_mut().zip(mode.to_le_bytes()) {
            *byte = value.cast_signed();
        }
    }
}
