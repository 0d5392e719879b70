//! The command line: what clap knows of it, and nothing of what it does. `cmd` turns it into deeds.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::store::name::Pattern;
use crate::store::{Name, Source};

/// Virtual machines whose disks are linked clones of one shared base
#[derive(Debug, Parser)]
#[command(name = "offshoot", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 in use or has dependents, 5 data damaged,
6 no space, 7 no usable KVM. `run` ends with its guest's status, 124 after --timeout, 125 when
offshoot itself failed first, 130 after Ctrl-C.";

/// Flags every verb takes, each with an environment variable.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Where images and VMs are kept [default: $XDG_DATA_HOME/offshoot; root: /var/lib/offshoot]
    #[arg(long, global = true, env = "OFFSHOOT_ROOT", hide_env_values = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// How results are printed; also what the file is or is to be, of imports and exports
    #[arg(long, global = true, env = "OFFSHOOT_FORMAT", hide_env_values = true)]
    #[arg(action = ArgAction::Append)]
    pub format: Vec<Format>,
    /// Print names only, and no progress
    #[arg(short, long, global = true, env = "OFFSHOOT_QUIET", hide_env_values = true)]
    pub quiet: bool,
    /// What is logged to stderr: error, warn, info, debug, trace, or module=level,...
    #[arg(long, global = true, env = "OFFSHOOT_LOG", hide_env_values = true)]
    #[arg(default_value = "warn", value_name = "FILTER")]
    pub log: String,
}

/// Both kinds of formats share the flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Results for people
    Table,
    /// Results for programs; keys are stable
    Json,
    /// Imports: the file is a raw disk image, whatever it looks like; exports: write one
    Raw,
    /// Imports: the file is QEMU's qcow2; exports: write one
    Qcow2,
    /// Imports: the file is VMware's vmdk
    Vmdk,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// See many clones of one base run at once: the embedded base and the embedded tiny guest
    Demo(Demo),
    /// Images: disks that never change, and that clones stand on
    #[command(subcommand)]
    Image(Image),
    /// Make a VM, or many, on top of an image, a snapshot or another VM, without copying it
    Clone(Clone),
    /// Clone and start a VM with its serial console on this terminal
    Run(Run),
    /// Start VMs
    Start(Start),
    /// Press VMs' power buttons, and stop those that do not react
    Stop(Stop),
    /// Wait until VMs end, and print how they did
    Wait(Targets),
    /// Hold VMs' vCPUs
    Pause(Targets),
    /// Let paused VMs go on
    Resume(Targets),
    /// Remove VMs with all they own
    Rm(Rm),
    /// List VMs
    Ls(List),
    /// List VMs that run
    Ps(List),
    /// Show everything about VMs
    Inspect(Targets),
    /// Print what a VM's console printed
    Logs(Logs),
    /// Attach this terminal to a running VM's serial console
    ///
    /// At the start of a line, ~. detaches and ~~ sends a ~.
    Console(Console),
    /// A VM's disk by itself, without the machine
    #[command(subcommand)]
    Disk(Disk),
    /// Snapshots: states of a VM's disk to go back to and to clone
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Take VMs back to what they stand on: their last snapshot, or what they were cloned of
    ///
    /// What they wrote since is lost.
    Reset(Reset),
    /// Show which VMs stand on which images and snapshots
    Tree(Tree),
    /// Give a VM all it needs of the image and snapshots below it: it stands alone then
    Flatten(Target),
    /// Merge what a VM wrote since its last snapshot into that snapshot
    Commit(Target),
    /// Have a VM stand on another image; its disk reads as before
    ///
    /// What differs between what it stood on and the image is copied into its own delta. It boots
    /// the image's kernel from then on, unless it has one of its own.
    Rebase(Rebase),
    /// Give a VM's disk another size; a running guest is told
    Resize(Resize),
    /// Give the space of zeroes in a VM's delta back to the host
    Compact(Target),
    /// Remove layers of removed VMs that nothing stands on any more
    Prune(Prune),
    /// Write what a VM changed to a file, for others who have the same image
    Export(Export),
    /// Make a VM of a file that `export` wrote
    Attach(Attach),
    /// Check this host and this store, and say what to do
    Doctor,
    /// Print the version
    Version,
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub enum Image {
    /// Copy a disk image into the store, perhaps with a kernel
    Import(Import),
    /// Write an image's disk to a file, raw or qcow2
    Export(ImageExport),
    /// List images
    Ls,
    /// Show everything about images
    Inspect(Targets),
    /// Read images and compare them with what was imported
    Verify(Targets),
    /// Remove images that no VM stands on
    Rm(Targets),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Reads raw, qcow2 and vmdk (in one file); --format says which where the first bytes mislead. A path
inside an image is never followed: name its whole backing chain with --backing.")]
pub struct Import {
    /// The disk image, or a block device
    pub file: PathBuf,
    /// What to call the image
    #[arg(long)]
    pub name: Name,
    /// A backing file, from the image's parent down; FILE:raw, FILE:qcow2 or FILE:vmdk says what
    /// it is
    #[arg(long, value_name = "FILE[:FORMAT]")]
    pub backing: Vec<PathBuf>,
    #[command(flatten)]
    pub boot: Boot,
}

#[derive(Debug, Args)]
pub struct ImageExport {
    /// An image
    pub name: Name,
    #[command(flatten)]
    pub file: NewFile,
}

/// A file for other programs; `--format` says raw, which it is otherwise, or qcow2.
#[derive(Clone, Debug, Args)]
pub struct NewFile {
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace the file if there is one
    #[arg(long)]
    pub force: bool,
}

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
    #[arg(long, value_name = "TEXT")]
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
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub notes: String,
    /// A label; may be given many times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
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
    /// Remove the clone when it ends
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
    #[arg(long, value_name = "TEXT")]
    pub cmdline: Option<String>,
}

#[derive(Debug, Args)]
pub struct Stop {
    /// VMs
    #[arg(required = true)]
    pub names: Vec<Name>,
    /// How long to wait after the power button
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
    /// Do not press the power button: stop at once
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Rm {
    /// VMs
    #[arg(required = true)]
    pub names: Vec<Name>,
    /// Stop those that run
    #[arg(short, long)]
    pub force: bool,
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

#[derive(Debug, Subcommand)]
pub enum Disk {
    /// Serve the disk of a VM that does not run to other programs, until Ctrl-C or `stop`
    ///
    /// Prints one line when clients can connect.
    Serve(DiskServe),
}

#[derive(Debug, Args)]
pub struct DiskServe {
    /// A VM
    pub name: Name,
    #[command(flatten)]
    pub socket: DiskSocket,
    /// Refuse writes
    #[arg(long)]
    pub read_only: bool,
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
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
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
pub struct Target {
    /// A VM
    pub name: Name,
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

#[derive(Debug, Args)]
pub struct Tree {
    /// An image, or a VM; all images when not said
    pub name: Option<Name>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The file holds the blocks the VM changed and its settings, not the image. It is the same, byte for
byte, whenever the same content is exported. With --flat it is the whole disk, for other programs:
raw, or qcow2 with --format qcow2.")]
pub struct Export {
    /// A VM that does not run
    pub name: Name,
    /// The file to write, or - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Write the whole disk, raw or qcow2
    #[arg(long)]
    pub flat: bool,
    /// With --flat: replace the file if there is one
    #[arg(long, requires = "flat")]
    pub force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The VM is put on this store's own copy of the base it was exported from, which is found by its
digest. It appears once the whole file has been checked.")]
pub struct Attach {
    /// The file, or - for standard input
    pub file: PathBuf,
    /// The image to put it on, which must have the same base [default: the one that has]
    #[arg(long, value_name = "IMAGE")]
    pub onto: Option<Name>,
    /// What to call the VM [default: the next of IMAGE-1, IMAGE-2, ...]
    #[arg(long)]
    pub name: Option<Name>,
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

#[derive(Debug, Args)]
pub struct Targets {
    /// Names
    #[arg(required = true)]
    pub names: Vec<Name>,
}

fn size(text: &str) -> Result<u64, String> {
    let parser = parse_size::Config::new().with_binary();
    parser.parse_size(text).map_err(|error| error.to_string())
}

/// Guest memory in MiB.
fn memory(text: &str) -> Result<u64, String> {
    const MIB: u64 = 1 << 20;
    match size(text)? {
        bytes if bytes < MIB => Err(format!("{bytes} bytes are not enough; as 512M or 2G")),
        bytes if bytes % MIB != 0 => Err("it must be whole MiB, as 512M or 2G".into()),
        bytes => Ok(bytes / MIB),
    }
}

/// Seconds, or a number with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).map_err(|error| error.to_string()),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it must be KEY=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_binary_and_memory_is_whole_mib() {
        assert_eq!(size("20G"), Ok(20 << 30));
        assert_eq!(memory("2G"), Ok(2048));
        assert!(memory("512").is_err());
        assert!(memory("1500K").is_err());
    }
}
