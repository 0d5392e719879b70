//! What do KVM's interrupt controllers cost? Prints medians for each kind, made before or after
//! the memory slots: creating a VM up to its first exit, and tearing it down.
//!
//! `cargo run --release -p vmm --example irqchip [rounds]`

use std::time::{Duration, Instant};

use kvm_bindings::{
    KVM_CAP_SPLIT_IRQCHIP, kvm_enable_cap, kvm_pit_config, kvm_userspace_memory_region,
};
use kvm_ioctls::{IoEventAddress, Kvm, VcpuExit, VmFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

const MEMORY: usize = 128 << 20;
/// A disk with four queues and rng with one.
const QUEUES: u32 = 5;
/// `out 0x80, al`
const CODE: [u8; 2] = [0xe6, 0x80];

#[derive(Clone, Copy, Debug)]
enum Kind {
    None,
    Kernel,
    KernelAndPit,
    Split,
}

fn main() {
    let rounds = std::env::args().nth(1).map_or(51, |n| n.parse().expect("rounds: a number"));
    let kvm = Kvm::new().expect("open /dev/kvm");
    println!("{:<14} {:<22} {:>12} {:>12}", "irqchip", "order", "create us", "drop us");
    for kind in [Kind::None, Kind::Kernel, Kind::KernelAndPit, Kind::Split] {
        for memory_first in [true, false] {
            let mut costs: Vec<_> = (0..rounds).map(|_| round(&kvm, kind, memory_first)).collect();
            let create = median(&mut costs, |cost| cost.0);
            let drop = median(&mut costs, |cost| cost.1);
            let order =
                if memory_first { "memory, irqchip, vCPU" } else { "irqchip, vCPU, memory" };
            println!("{:<14} {order:<22} {create:>12} {drop:>12}", format!("{kind:?}"));
        }
    }
}

fn round(kvm: &Kvm, kind: Kind, memory_first: bool) -> (Duration, Duration) {
    let memory =
        GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), MEMORY)]).expect("guest memory");
    memory.write_slice(&CODE, GuestAddress(0x1000)).expect("code lies in memory");
    let start = Instant::now();
    let vm = kvm.create_vm().expect("create VM");
    if memory_first {
        map(&vm, &memory);
    }
    create_irqchip(&vm, kind);
    let notify: Vec<_> = (0..QUEUES).map(|queue| connect(&vm, queue)).collect();
    let mut vcpu = vm.create_vcpu(0).expect("create vCPU");
    if !memory_first {
        map(&vm, &memory);
    }
    let mut sregs = vcpu.get_sregs().expect("read registers");
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    vcpu.set_sregs(&sregs).expect("set segments");
    let mut regs = vcpu.get_regs().expect("read registers");
    (regs.rip, regs.rflags) = (0x1000, 2);
    vcpu.set_regs(&regs).expect("set registers");
    assert!(matches!(vcpu.run(), Ok(VcpuExit::IoOut(0x80, _))), "the guest's first instruction");
    let created = start.elapsed();
    let start = Instant::now();
    drop((vcpu, vm, notify));
    (created, start.elapsed())
}

#[allow(unsafe_code, reason = "KVM takes host addresses")]
fn map(vm: &VmFd, memory: &GuestMemoryMmap<()>) {
    let region = kvm_userspace_memory_region {
        memory_size: MEMORY as u64,
        userspace_addr: memory.get_host_address(GuestAddress(0)).expect("mapped") as u64,
        ..Default::default()
    };
    // SAFETY: `memory` outlives the VM, and only the guest writes to it.
    unsafe { vm.set_user_memory_region(region) }.expect("set a memory slot");
}

fn create_irqchip(vm: &VmFd, kind: Kind) {
    if matches!(kind, Kind::Kernel | Kind::KernelAndPit) {
        vm.create_irq_chip().expect("create irqchip");
    }
    if matches!(kind, Kind::KernelAndPit) {
        vm.create_pit2(kvm_pit_config::default()).expect("create PIT");
    }
    if matches!(kind, Kind::Split) {
        let mut split = kvm_enable_cap { cap: KVM_CAP_SPLIT_IRQCHIP, ..Default::default() };
        split.args[0] = 24;
        vm.enable_cap(&split).expect("enable split irqchip");
    }
}

/// Has KVM turn queue notifications into eventfd signals, as a machine with devices does.
fn connect(vm: &VmFd, queue: u32) -> EventFd {
    let notify = EventFd::new(EFD_NONBLOCK).expect("create an eventfd");
    vm.register_ioevent(&notify, &IoEventAddress::Mmio(0xd000_0050), queue).expect("ioeventfd");
    notify
}

fn median(
    costs: &mut [(Duration, Duration)],
    of: impl Fn(&(Duration, Duration)) -> Duration,
) -> u128 {
    costs.sort_by_key(&of);
    of(&costs[costs.len() / 2]).as_micros()
}
