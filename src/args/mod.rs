//! The command line: what clap knows of it, and nothing of what it does. `cmd` turns it into deeds.

pub mod complete;
mod image;
mod lab;
mod layers;
mod machine;
mod people;
pub mod reference;
mod upkeep;
pub mod value;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Command, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::store::Name;

pub use image::*;
pub use lab::*;
pub use layers::*;
pub use machine::*;
pub use people::*;
pub use upkeep::*;

/// Virtual machines whose disks are linked clones of one shared base
#[derive(Debug, Parser)]
#[command(name = "offshoot", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Says what a verb takes.
type Describe = fn(Command) -> Command;

/// The verbs that scripts say by the hundred.
const FREQUENT: [(&str, Describe); 7] = [
    ("clone", Clone::augment_args),
    ("ls", List::augment_args),
    ("reset", Reset::augment_args),
    ("rm", Rm::augment_args),
    ("run", Run::augment_args),
    ("start", Start::augment_args),
    ("tree", Tree::augment_args),
];

impl Cli {
    /// What this process was asked for; it ends here where that makes no sense.
    pub fn of_this_process() -> Cli {
        let words: Vec<_> = std::env::args_os().collect();
        Cli::frequent(&words).unwrap_or_else(|| Cli::parse_from(words))
    }

    /// What is asked for, where that is one of the frequent verbs: describing all the others to
    /// clap would take a third of the time they take. Whatever else there is to say, be it help or
    /// what is wrong, the whole description is for.
    fn frequent(words: &[OsString]) -> Option<Cli> {
        let first = words.get(1)?;
        let (verb, describe) = FREQUENT.iter().find(|(verb, _)| first == verb)?;
        let verb = describe(Command::new(*verb));
        let command = Global::augment_args(Command::new("offshoot")).subcommand(verb);
        let mut matches = command.try_get_matches_from(words).ok()?;
        Cli::from_arg_matches_mut(&mut matches).ok()
    }
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
    /// When there are colours
    #[arg(long, global = true, env = "OFFSHOOT_COLOR", hide_env_values = true)]
    #[arg(value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// What is logged to stderr: error, warn, info, debug, trace, or module=level,...
    #[arg(long, global = true, env = "OFFSHOOT_LOG", hide_env_values = true)]
    #[arg(default_value = "warn", value_name = "FILTER")]
    pub log: String,
}

/// When there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// At a terminal, unless NO_COLOR is set or TERM is dumb
    Auto,
    /// Always
    #[value(alias = "on")]
    Always,
    /// Never
    #[value(alias = "off")]
    Never,
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
    /// Stop VMs and start them again
    Restart(Restart),
    /// Wait until VMs end, and print how they did
    Wait(Targets),
    /// Hold VMs' vCPUs
    Pause(Targets),
    /// Let paused VMs go on
    Resume(Targets),
    /// Remove VMs with all they own
    ///
    /// Snapshots that others stand on stay until these are gone.
    #[command(aliases = ["remove", "delete"])]
    Rm(Rm),
    /// List VMs
    #[command(alias = "list")]
    Ls(List),
    /// List VMs that run
    Ps(List),
    /// Show everything about VMs
    Inspect(Targets),
    /// Give an image or a VM another name
    Rename(Rename),
    /// Write a note on an image or a VM, or print it
    Note(Note),
    /// Give an image or a VM labels, take some away, or list them
    Label(Label),
    /// Keep images and VMs from being removed, reset or reverted
    Protect(Protect),
    /// Print what a VM's console printed
    Logs(Logs),
    /// Attach this terminal to a running VM's serial console
    ///
    /// It begins with what was printed last. At the start of a line, ~. detaches and ~~ sends a ~.
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
    /// Make a linked clone a full one: it needs nothing of its image any more, which may be removed
    ///
    /// As `flatten`, and it gets a kernel of its own.
    Promote(Target),
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
    /// Labs: clones that are made, started, reset and removed together, as a file says
    #[command(subcommand)]
    Lab(Lab),
    /// Print what happened in this store, as lines of JSON
    Events(Events),
    /// Show what images and VMs take of the disk: shared, their own, and what could be freed
    Df(Df),
    /// Check images and VMs for damage, without starting them
    Check(Check),
    /// Check this host and this store, and say what to do; or do it
    Doctor(Doctor),
    /// Print the version
    Version,
    /// Write the manual pages
    Man(Man),
    /// Print a completion script for a shell
    ///
    /// It completes names of images, VMs and snapshots, too: source <(offshoot completion bash).
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub struct Target {
    /// A VM
    pub name: Name,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Man {
    /// The directory to write offshoot.1 and its like to
    pub dir: Option<PathBuf>,
    /// Print all of it as one page of Markdown
    #[arg(long)]
    pub markdown: bool,
}

#[derive(Debug, Args)]
pub struct Targets {
    /// Names
    #[arg(required = true)]
    pub names: Vec<Name>,
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
    fn frequent_verbs_are_understood_as_all_are_and_nothing_else_is() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        for text in [
            "offshoot clone debian web -n 3 --label a=b --root /x --ephemeral",
            "offshoot ls --format json -q --color always",
            "offshoot reset -f web db",
            "offshoot rm --cascade web --log debug",
            "offshoot run debian --rm --timeout 5s",
            "offshoot start web --cmdline x",
            "offshoot tree",
        ] {
            let all = Cli::try_parse_from(words(text)).expect(text);
            let quick = Cli::frequent(&words(text)).expect(text);
            assert_eq!(format!("{quick:?}"), format!("{all:?}"));
        }
        for text in
            ["offshoot", "offshoot clone", "offshoot rm --help", "offshoot ls x", "offshoot df"]
        {
            assert!(Cli::frequent(&words(text)).is_none(), "{text}");
        }
    }
}
