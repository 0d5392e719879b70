//! How a machine can end.

use serde::{Deserialize, Serialize};

/// Why a machine ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Exit {
    /// The guest powered off (ACPI S5).
    Poweroff,
    /// The guest asked for a reset (i8042, ACPI reset register). offshoot does not restart it.
    Reset,
    /// A vCPU shut down, as after a triple fault.
    TripleFault,
    /// The guest wrote its status to the debug-exit port.
    DebugExit {
        /// The byte written.
        status: u8,
    },
    /// KVM could not go on: an instruction it cannot emulate, or a state it refuses to enter.
    InternalError {
        /// KVM's own words, decoded: suberror, and the instruction bytes where known.
        detail: String,
        /// Which vCPU.
        vcpu: u8,
        /// Its instruction pointer.
        rip: u64,
    },
    /// Stopped from outside: the control socket, a signal.
    Stopped,
}

impl Exit {
    /// The status a process that ran this machine ends with.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Exit::Poweroff => 0,
            Exit::DebugExit { status } => *status,
            Exit::Reset => 120,
            Exit::TripleFault => 121,
            Exit::InternalError { .. } => 122,
            Exit::Stopped => 123,
        }
    }
}
