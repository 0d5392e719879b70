//! Can this KVM run Linux? Found out by trying.

use vm_memory::{Bytes, GuestAddress};

use crate::boot::{Entry, Protocol};
use crate::cpu::Template;
use crate::cpu::exit::Exit;
use crate::error::Result;
use crate::memory::{self, GuestMemory};
use crate::vm::Vm;
use crate::{kvm, layout};

const CODE: u64 = layout::KERNEL_START;
const HANDLER: u64 = CODE + 0x10;
const IDT_POINTER: u64 = CODE + 0x20;
const IDT: u64 = CODE + 0x1000;
/// Where the stack ends that the exception is pushed to.
const STACK: u64 = CODE + 0x4000;
const BREAKPOINT: u64 = 3;

/// Runs a guest of four instructions at CPL 0 in 64-bit mode: it sets its stack, then `lidt`,
/// `int3`, and in the handler `out`, and says whether it came to its end.
///
/// A KVM on hardware does; one that interprets the kernel's instructions lacks `int3`, which
/// every Linux uses on itself, and others. The tiny guest runs there, Linux does not.
///
/// # Errors
/// KVM cannot be used at all.
pub fn runs_linux() -> Result<bool> {
    let kvm = kvm::open()?;
    let memory = memory::create("probe", memory::MIN_MIB)?;
    write_guest(&memory).expect("the least memory has room for it");
    let vm = Vm::create(&kvm, &memory)?;
    let mut cpu = Template::new(&kvm, 1)?.create(vm.fd(), 0)?;
    let entry = Entry { protocol: Protocol::Linux64, rip: CODE, params: 0, acpi: true };
    cpu.enter(&entry, &memory)?;
    loop {
        match cpu.run() {
            Exit::Again => {}
            Exit::Write { .. } => return Ok(true),
            Exit::Read { .. } | Exit::End(_) => return Ok(false),
        }
    }
}

fn write_guest(memory: &GuestMemory) -> std::result::Result<(), vm_memory::GuestMemoryError> {
    let bytes = |address| u32::try_from(address).expect("below 4 GiB").to_le_bytes();
    let ([s, t, u, v], [a, b, c, d]) = (bytes(STACK), bytes(IDT_POINTER));
    // mov esp, STACK; lidt [IDT_POINTER]; int3
    let code = [0xbc, s, t, u, v, 0x0f, 0x01, 0x1c, 0x25, a, b, c, d, 0xcc];
    memory.write_slice(&code, GuestAddress(CODE))?;
    // out 0xf4, al
    memory.write_slice(&[0xe6, 0xf4], GuestAddress(HANDLER))?;
    memory.write_obj(0xfff_u16, GuestAddress(IDT_POINTER))?;
    memory.write_obj(IDT, GuestAddress(IDT_POINTER + 2))?;
    // An interrupt gate, present, for the code segment 0x10: Intel SDM volume 3, 6.14.1.
    let gate = (HANDLER & 0xffff) | 0x10 << 16 | 0x8e00 << 32 | (HANDLER >> 16) << 48;
    memory.write_obj(gate, GuestAddress(IDT + BREAKPOINT * 16))
}
