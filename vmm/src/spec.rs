//! What is asked of a machine.

use std::path::PathBuf;

use blockdev::{Engine, StackSpec};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::boot::Protocol;

/// A machine to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// For messages, the control API and SMBIOS.
    pub name: String,
    /// SMBIOS system UUID.
    pub uuid: Uuid,
    /// vCPUs, 1 to 255.
    pub cpus: u16,
    /// Guest memory in MiB.
    pub memory_mib: u64,
    /// What it boots.
    pub boot: Boot,
    /// virtio-blk devices in order: /dev/vda, /dev/vdb, ...
    pub disks: Vec<DiskSpec>,
}

/// A kernel and what it is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// ELF vmlinux or bzImage.
    pub kernel: PathBuf,
    /// Initial ramdisk.
    pub initrd: Option<PathBuf>,
    /// Kernel command line, without what the machine itself adds.
    pub cmdline: String,
    /// How the kernel is entered; decided by its file where not said.
    #[serde(default)]
    pub protocol: Option<Protocol>,
}

/// A virtio-blk device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSpec {
    /// What GET_ID answers; at most 20 bytes.
    pub id: String,
    /// Its layers.
    pub stack: StackSpec,
    /// Request queues; one for each vCPU, up to 4, where not said.
    pub queues: Option<u16>,
    /// How bytes are moved.
    #[serde(default)]
    pub engine: Engine,
}
