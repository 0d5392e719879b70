//! KVM's side of a machine: guest memory in its slots, the interrupt controllers, and the
//! eventfds that join devices to both.
//!
//! Memory goes in before anything else is made: on hosts that shadow page tables the other order
//! costs ten times as much (`cargo run --example irqchip` shows by how much here).
#![allow(unsafe_code, reason = "KVM takes guest memory by host address")]

use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config, kvm_userspace_memory_region};
use kvm_ioctls::{IoEventAddress, Kvm, VmFd};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::eventfd::EventFd;

use crate::error::{Attempt, Result};
use crate::layout;
use crate::memory::GuestMemory;

/// A VM without vCPUs.
#[derive(Debug)]
pub struct Vm {
    fd: VmFd,
    /// Mapped for as long as the VM is there.
    _memory: GuestMemory,
}

impl Vm {
    /// Makes a VM of `memory` with PIC, I/O APIC and, in every vCPU to come, a local APIC.
    pub fn create(kvm: &Kvm, memory: &GuestMemory) -> Result<Vm> {
        let fd = kvm.create_vm().or_refused("create a VM")?;
        for (slot, region) in (0..).zip(memory.iter()) {
            let host = memory.get_host_address(region.start_addr());
            let slot = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: region.start_addr().raw_value(),
                memory_size: region.len(),
                userspace_addr: host.expect("the region is mapped") as u64,
            };
            // SAFETY: the region stays mapped as long as `_memory`, which goes after `fd`, and
            // everyone on this side treats it as volatile.
            unsafe { fd.set_user_memory_region(slot) }.or_refused("map guest memory")?;
        }
        let tss = usize::try_from(layout::KVM_TSS.start).expect("below 4 GiB");
        fd.set_identity_map_address(layout::KVM_IDENTITY_MAP.start)
            .or_refused("place its identity map")?;
        fd.set_tss_address(tss).or_refused("place its task state segment")?;
        fd.create_irq_chip().or_refused("create the interrupt controllers")?;
        Ok(Vm { fd, _memory: memory.clone() })
    }

    /// Adds the PC's timer, and the port 0x61 that goes with it. It makes taking the VM down
    /// slower by 8 ms on some hosts, so only guests that need it get it.
    pub fn add_pit(&self) -> Result<()> {
        let config = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
        self.fd.create_pit2(config).or_refused("create the PC's timer")
    }

    /// The VM's descriptor, to make vCPUs of.
    pub fn fd(&self) -> &VmFd {
        &self.fd
    }

    /// Has each signal of `event` raise line `gsi` once.
    pub fn raise_on(&self, event: &EventFd, gsi: u32) -> Result<()> {
        self.fd.register_irqfd(event, gsi).or_refused("connect an interrupt line")
    }

    /// Has a guest's write of the 32-bit `value` to `address` signal `event` inside KVM.
    pub fn signal_on(&self, event: &EventFd, address: u64, value: u32) -> Result<()> {
        let address = IoEventAddress::Mmio(address);
        self.fd.register_ioevent(event, &address, value).or_refused("connect a queue")
    }
}
