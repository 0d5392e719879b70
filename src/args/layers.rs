//! Verbs of a VM's disk: its snapshots, and what it stands on.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::value::{note, size};
use crate::store::{Name, Source};

#[derive(Debug, Subcommand)]
pub enum Disk {
    /// Serve the disk of a VM that does not run to other programs, until Ctrl-C or `stop`
    ///
    /// Prints one line when clients can connect.
    Serve(DiskServe),
}

#[derive(Debug, Args)]
pub struct DiskServe {
    /// A VM; with --read-only also VM@SNAPSHOT
    pub source: Source,
    #[command(flatten)]
    pub socket: DiskSocket,
    /// Refuse writes; several may read the same disk at once
    #[arg(long)]
    pub read_only: bool,
}

/// What is spoken, and where.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct DiskSocket {
    /// Speak NBD on this unix socket, for nbdcopy, qemu-img, fio and the like
    #[arg(long, value_name = "SOCKET")]
    pub nbd: Option<PathBuf>,
    /// Be the vhost-user-blk device of another monitor's machine on this unix socket
    #[arg(long, value_name = "SOCKET")]
    pub vhost_user: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Keep the state of a VM's disk; the VM may run, and goes on
    Create(SnapshotCreate),
    /// List a VM's snapshots
    Ls {
        /// A VM
        name: Name,
    },
    /// Take a stopped VM back to a snapshot
    Revert(SnapshotRevert),
    /// Remove a snapshot; what the VM or others need of it they keep
    Rm(SnapshotRm),
}

#[derive(Debug, Args)]
pub struct SnapshotCreate {
    /// A VM
    pub name: Name,
    /// What to call the snapshot [default: the next of s1, s2, ...]
    pub snapshot: Option<Name>,
    /// Something to remember it by
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, value_parser = note)]
    pub notes: String,
}

#[derive(Debug, Args)]
pub struct SnapshotRevert {
    /// A VM
    pub name: Name,
    /// One of its snapshots
    pub snapshot: Name,
    /// Lose what was written since the last snapshot
    #[arg(short, long)]
    pub force: bool,
    /// Make a snapshot of what was written since the last one first
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "force")]
    pub keep: Option<Name>,
}

#[derive(Debug, Args)]
pub struct SnapshotRm {
    /// A VM
    pub name: Name,
    /// One of its snapshots
    pub snapshot: Name,
}

#[derive(Debug, Args)]
pub struct Reset {
    /// VMs
    #[arg(required = true)]
    pub names: Vec<Name>,
    /// Stop those that run
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Rebase {
    /// A VM
    pub name: Name,
    /// The image
    #[arg(long, value_name = "IMAGE")]
    pub onto: Name,
}

#[derive(Debug, Args)]
pub struct Resize {
    /// A VM
    pub name: Name,
    /// The new size, as 20G
    #[arg(value_parser = size)]
    pub size: u64,
    /// Make it smaller, too, if the VM is stopped: what is behind the new end is lost
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Prune {
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Also layers whose --delta-dir is not there: the store forgets them, and says where they are
    #[arg(long)]
    pub forget: bool,
}

#[derive(Debug, Args)]
pub struct Tree {
    /// An image, or a VM; all images when not said
    pub name: Option<Name>,
}
