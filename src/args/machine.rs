//! Verbs that make machines, and that run them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::value::{duration, label, memory, note, size};
use crate::store::name::Pattern;
use crate::store::{Name, Source};

/// What is booted.
#[derive(Clone, Debug, Args)]
pub struct Boot {
    /// The kernel: a bzImage or an ELF
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// The initial ramdisk
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// The kernel's command line
    #[arg(long, value_name = "TEXT", value_parser = note)]
    pub cmdline: Option<String>,
}

/// What a clone is made with.
#[derive(Clone, Debug, Args)]
pub struct Machine {
    /// Virtual CPUs [default: 1; of a VM's clone: as many]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=255))]
    pub cpus: Option<u16>,
    /// Guest memory, as 512M or 2G [default: 512M; of a VM's clone: as much]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<u64>,
    /// The disk's size if it is to be larger than the source's, as 20G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub disk_size: Option<u64>,
    /// Something to remember it by
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, value_parser = note)]
    pub notes: String,
    /// A label; may be given many times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// What to tell the guest, in TOML: host name, users, keys, files, commands, network
    #[arg(long, value_name = "FILE")]
    pub spec: Option<PathBuf>,
    /// Clean at every start: what it writes is never made durable, and goes when it ends
    #[arg(long)]
    pub ephemeral: bool,
    /// Keep its delta in this directory, on another disk perhaps, not in the store
    #[arg(long, value_name = "DIR")]
    pub delta_dir: Option<PathBuf>,
    #[command(flatten)]
    pub boot: Boot,
}

#[derive(Debug, Args)]
pub struct Clone {
    /// IMAGE, VM@SNAPSHOT, or VM as it is now
    pub source: Source,
    /// The clone's name, or a template as lab-{n:02} [default: SOURCE-1, SOURCE-2, ...]
    pub name: Option<Pattern>,
    /// Make so many: NAME-1, NAME-2, ...
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub count: Option<u32>,
    #[command(flatten)]
    pub machine: Machine,
    /// Of a VM: make true copies, with its UUID, MAC and host name
    #[arg(long, conflicts_with = "spec")]
    pub keep_identity: bool,
    /// Copy all of the disk and the kernel: the clone needs nothing of its source any more
    #[arg(long, conflicts_with = "ephemeral")]
    pub full: bool,
    /// Start them
    #[arg(long)]
    pub start: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Keys go to the guest as they are when stdin is a terminal, Ctrl-C too; ~. at the start of a line
stops the VM. Ctrl-C from anywhere else (stdin is no terminal), SIGTERM and SIGHUP stop it, too.")]
pub struct Run {
    /// IMAGE, VM@SNAPSHOT, or VM as it is now
    pub source: Source,
    /// The clone's name [default: the next of SOURCE-1, SOURCE-2, ...]
    pub name: Option<Name>,
    /// Remove the clone when it ends; it is --ephemeral, too
    #[arg(long)]
    pub rm: bool,
    /// Stop it after this time, as 60s or 5m, and end with 124
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
    #[command(flatten)]
    pub machine: Machine,
}

#[derive(Debug, Args)]
pub struct Start {
    /// VMs
    #[arg(required = true)]
    pub names: Vec<Name>,
    /// The kernel's command line, this time only
    #[arg(long, value_name = "TEXT", value_parser = note)]
    pub cmdline: Option<String>,
}

/// How a running VM is ended.
#[derive(Clone, Copy, Debug, Args)]
pub struct Ending {
    /// How long to wait after the power button
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
    /// Do not press the power button: stop at once
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Stop {
    /// VMs
    #[arg(required = true)]
    pub names: Vec<Name>,
    #[command(flatten)]
    pub ending: Ending,
}

#[derive(Debug, Args)]
pub struct Rm {
    /// VMs; with --cascade images, too
    #[arg(required = true)]
    pub names: Vec<Name>,
    /// Stop those that run; with --cascade, which never does: do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Remove all that stands on them, too; lists it and asks first
    #[arg(long)]
    pub cascade: bool,
    /// Also those whose --delta-dir is not there: the store forgets what is in it, and says where
    #[arg(long)]
    pub forget: bool,
}

#[derive(Debug, Args)]
pub struct Restart {
    /// VMs; those that do not run are started
    #[arg(required = true)]
    pub names: Vec<Name>,
    #[command(flatten)]
    pub ending: Ending,
    /// The kernel's command line, this time only
    #[arg(long, value_name = "TEXT", value_parser = note)]
    pub cmdline: Option<String>,
}

#[derive(Debug, Args)]
pub struct List {
    /// Also those that do not run; `ls` lists them always
    #[arg(short, long)]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct Logs {
    /// A VM
    pub name: Name,
    /// Go on until it ends
    #[arg(short, long)]
    pub follow: bool,
}

#[derive(Debug, Args)]
pub struct Console {
    /// A VM
    pub name: Name,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// How many clones
    #[arg(short = 'n', long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub count: u32,
    /// Keep the store it works in, and say where it is
    #[arg(long)]
    pub keep: bool,
}
