//! What a machine says of itself, in Firecracker's words.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::machine::Condition;
use crate::spec::Spec;
use crate::trouble::Trouble;

/// Answers `GET /`: Firecracker's `InstanceInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The machine's name.
    pub id: String,
    /// What it is doing.
    pub state: State,
    /// offshoot's version.
    pub vmm_version: String,
    /// `offshoot`.
    pub app_name: String,
    /// What must be done before it can go on; absent where nothing must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// What a machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// No instruction has run yet.
    #[serde(rename = "Not started")]
    NotStarted,
    /// It runs.
    Running,
    /// It can go on.
    Paused,
}

/// Answers `GET /machine-config`: of Firecracker's `MachineConfiguration` what there is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineConfig {
    /// vCPUs.
    pub vcpu_count: u16,
    /// Guest memory.
    pub mem_size_mib: u64,
    /// Whether two vCPUs share a core: never.
    pub smt: bool,
    /// Whether written pages are recorded: not yet.
    pub track_dirty_pages: bool,
}

/// Answers `PUT /offshoot/snapshot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// How long writes and flushes waited, microseconds.
    pub pause_us: u64,
}

impl Instance {
    /// Of the machine `name`.
    pub fn new(name: &str, condition: Condition) -> Instance {
        Instance {
            id: name.to_owned(),
            state: condition.into(),
            vmm_version: env!("CARGO_PKG_VERSION").to_owned(),
            app_name: "offshoot".to_owned(),
            trouble: None,
        }
    }
}

impl MachineConfig {
    /// Of what was asked for.
    pub fn new(spec: &Spec) -> MachineConfig {
        MachineConfig {
            vcpu_count: spec.cpus,
            mem_size_mib: spec.memory_mib,
            smt: false,
            track_dirty_pages: false,
        }
    }
}

impl Snapshot {
    /// Of a snapshot that made others wait for `pause`.
    pub fn new(pause: Duration) -> Snapshot {
        Snapshot { pause_us: u64::try_from(pause.as_micros()).unwrap_or(u64::MAX) }
    }
}

impl From<Condition> for State {
    fn from(condition: Condition) -> State {
        match condition {
            Condition::NotStarted => State::NotStarted,
            Condition::Running => State::Running,
            Condition::Paused => State::Paused,
        }
    }
}
