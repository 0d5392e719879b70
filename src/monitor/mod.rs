//! Monitors: one child process for each running VM, and how commands start, watch and end them.
//!
//! ```text
//!   start, run                               offshoot vmm --dir vms/<id>
//!   takes the VM's lock, opens sockets
//!   spawns /proc/self/exe ────────────────►  in a session of its own
//!   Job { spec } + descriptors ── stdin ──►  holds the lock for as long as it lives
//!   "it runs" or why not       ◄── stdin ──  vmm::run ... exit.json
//! ```
//! There is no daemon: what is known of a VM is its lock, who signed it, and `exit.json`.

mod end;
mod job;
mod runtime;
mod serve;
mod spawn;
mod state;
mod stop;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use vmm::control::Client;

use crate::store::Vm;

pub use end::{End, Report};
pub use job::Answer;
pub use runtime::silent_sockets;
pub use serve::Duty;
pub use spawn::{Monitor, Settings, bring_up, spec, start};
pub use state::State;
pub use stop::{kill, make_sure, process, shut_down, wait};
pub use writer::{lock, stopped, writer};

/// How long a running monitor may take to do what it is asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// The control client of a VM.
///
/// # Errors
/// It does not run.
pub fn control(vm: &Vm) -> Result<Client> {
    Ok(state::client(&state::holder(vm)?, PATIENCE))
}

/// The console socket of a VM.
///
/// # Errors
/// It does not run.
pub fn console_socket(vm: &Vm) -> Result<PathBuf> {
    Ok(state::holder(vm)?.sockets.join(runtime::CONSOLE))
}
