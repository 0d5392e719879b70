//! Verbs of labs: many clones at once, from a file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::value::duration;

#[derive(Debug, Subcommand)]
pub enum Lab {
    /// Make and start what the file says and is not there yet
    Up(LabUp),
    /// List the clones of a lab
    Ls {
        #[command(flatten)]
        file: LabFile,
    },
    /// Take all clones back to what they stand on, and start them; what they wrote is lost
    Reset(LabReset),
    /// Stop all clones and remove them
    Down(LabDown),
}

/// Which lab.
#[derive(Debug, Args)]
pub struct LabFile {
    /// The lab's file
    #[arg(short = 'f', long = "file", value_name = "FILE", default_value = "lab.toml")]
    pub path: PathBuf,
}

#[derive(Debug, Args)]
pub struct LabUp {
    #[command(flatten)]
    pub file: LabFile,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Start all of it even if its memory does not fit
    #[arg(long)]
    pub overcommit: bool,
}

#[derive(Debug, Args)]
pub struct LabReset {
    #[command(flatten)]
    pub file: LabFile,
    /// Start all of it even if its memory does not fit
    #[arg(long)]
    pub overcommit: bool,
}

#[derive(Debug, Args)]
pub struct LabDown {
    #[command(flatten)]
    pub file: LabFile,
    /// Stop the clones, and do not remove them
    #[arg(long)]
    pub keep: bool,
    /// How long to wait after the power button
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
    /// Do not press the power button: stop at once
    #[arg(long)]
    pub force: bool,
}
