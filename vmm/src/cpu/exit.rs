//! Why a vCPU left the guest, as a plain value.

use std::fmt::Write;

use kvm_bindings::{
    KVM_INTERNAL_ERROR_DELIVERY_EV, KVM_INTERNAL_ERROR_EMULATION, KVM_INTERNAL_ERROR_SIMUL_EX,
    KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET,
    KVM_SYSTEM_EVENT_SHUTDOWN,
};
use kvm_ioctls::VcpuExit;

use super::page::{InternalError, Page};

/// Why a vCPU left the guest.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit<'a> {
    /// The guest reads a device: fill `data`, `width` bytes an access, all at `address`.
    Read {
        /// Ports or memory.
        space: Space,
        /// Port number or guest-physical address.
        address: u64,
        /// Bytes of one access; never 0.
        width: usize,
        /// What the guest gets.
        data: &'a mut [u8],
    },
    /// The guest writes a device, `width` bytes an access, all at `address`.
    Write {
        /// Ports or memory.
        space: Space,
        /// Port number or guest-physical address.
        address: u64,
        /// Bytes of one access; never 0.
        width: usize,
        /// What the guest wrote.
        data: &'a [u8],
    },
    /// Nothing happened: a signal, or KVM wants to be called again.
    Again,
    /// The guest cannot go on.
    End(End),
}

/// The two address spaces devices answer in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// I/O ports.
    Port,
    /// Guest-physical memory.
    Memory,
}

/// How a guest ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Shutdown state, as after a triple fault.
    TripleFault,
    /// Asked for by a hypercall.
    Poweroff,
    /// Asked for by a hypercall.
    Reset,
    /// KVM gave up; in words.
    Broken(String),
}

/// What `exit` means; `page` has the details the bindings leave out.
pub fn decode<'a>(exit: Result<VcpuExit<'a>, kvm_ioctls::Error>, page: &Page) -> Exit<'a> {
    let exit = match exit {
        Ok(exit) => exit,
        Err(errno) if matches!(errno.errno(), libc::EINTR | libc::EAGAIN) => return Exit::Again,
        Err(errno) => return broken(format!("KVM_RUN failed: {errno}")),
    };
    let port = |port| (Space::Port, u64::from(port), page.port_width().max(1));
    match exit {
        VcpuExit::IoIn(at, data) => {
            let (space, address, width) = port(at);
            Exit::Read { space, address, width, data }
        }
        VcpuExit::IoOut(at, data) => {
            let (space, address, width) = port(at);
            Exit::Write { space, address, width, data }
        }
        VcpuExit::MmioRead(address, data) => {
            Exit::Read { space: Space::Memory, address, width: data.len().max(1), data }
        }
        VcpuExit::MmioWrite(address, data) => {
            Exit::Write { space: Space::Memory, address, width: data.len().max(1), data }
        }
        VcpuExit::Intr | VcpuExit::IrqWindowOpen | VcpuExit::Hlt => Exit::Again,
        VcpuExit::Shutdown => Exit::End(End::TripleFault),
        VcpuExit::SystemEvent(kind, _) => system_event(kind),
        VcpuExit::InternalError => broken(explain(&page.internal_error())),
        VcpuExit::FailEntry(reason, cpu) => broken(format!(
            "the processor refused to enter the guest (reason {reason:#x}, on host CPU {cpu}): \
             its registers make no legal state"
        )),
        VcpuExit::MemoryFault { gpa, .. } => {
            broken(format!("KVM could not reach guest memory at {gpa:#x}"))
        }
        other => broken(format!("KVM left the guest for a reason not expected: {other:?}")),
    }
}

fn broken<'a>(detail: String) -> Exit<'a> {
    Exit::End(End::Broken(detail))
}

fn system_event<'a>(kind: u32) -> Exit<'a> {
    match kind {
        KVM_SYSTEM_EVENT_SHUTDOWN => Exit::End(End::Poweroff),
        KVM_SYSTEM_EVENT_RESET => Exit::End(End::Reset),
        KVM_SYSTEM_EVENT_CRASH => broken("the guest reported that it crashed".into()),
        other => broken(format!("KVM reported the unknown system event {other}")),
    }
}

/// KVM's suberror in words, and what to do about it.
fn explain(error: &InternalError) -> String {
    match error.suberror {
        KVM_INTERNAL_ERROR_EMULATION => {
            let mut text = String::from("KVM cannot emulate the guest's instruction");
            if let Some(bytes) = instruction(&error.data) {
                for byte in bytes {
                    write!(text, " {byte:02x}").expect("a string takes everything");
                }
            }
            text + "; a KVM without hardware virtualization cannot run everything, \
                    `offshoot doctor` says whether this one runs Linux"
        }
        KVM_INTERNAL_ERROR_SIMUL_EX => "two exceptions at once while KVM handled one".into(),
        KVM_INTERNAL_ERROR_DELIVERY_EV => {
            format!("KVM left the guest while delivering an event to it (data {:x?})", error.data)
        }
        KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON => {
            format!(
                "the processor left the guest for a reason KVM does not know ({:x?})",
                error.data
            )
        }
        other => format!("KVM reported the unknown internal error {other} ({:x?})", error.data),
    }
}

/// The instruction KVM could not emulate, where it tells: flags, then a length and up to 15 bytes
/// (`emulation_failure` in `struct kvm_run`).
fn instruction(data: &[u64]) -> Option<Vec<u8>> {
    const INSTRUCTION_BYTES: u64 = 1;
    let (flags, words) = data.split_first()?;
    let bytes: Vec<u8> = words.iter().take(2).flat_map(|word| word.to_le_bytes()).collect();
    let (len, bytes) = bytes.split_first()?;
    let bytes = bytes.get(..usize::from(*len))?;
    (flags & INSTRUCTION_BYTES != 0 && !bytes.is_empty()).then(|| bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulation_failure_names_the_instruction() {
        let data = vec![1, u64::from_le_bytes([2, 0xcd, 0x03, 0, 0, 0, 0, 0]), 0];
        let text = explain(&InternalError { suberror: KVM_INTERNAL_ERROR_EMULATION, data });
        assert!(text.starts_with("KVM cannot emulate the guest's instruction cd 03;"), "{text}");
        assert!(text.contains("offshoot doctor"), "{text}");
    }

    #[test]
    fn emulation_failure_without_bytes_is_still_explained() {
        for data in [vec![], vec![0, 2, 0], vec![1], vec![1, 0xff, 0]] {
            let text = explain(&InternalError { suberror: KVM_INTERNAL_ERROR_EMULATION, data });
            assert!(text.starts_with("KVM cannot emulate the guest's instruction;"), "{text}");
        }
    }

    #[test]
    fn unknown_suberror_keeps_its_data() {
        let text = explain(&InternalError { suberror: 77, data: vec![0xabc] });
        assert!(text.contains("77") && text.contains("abc"), "{text}");
    }
}
