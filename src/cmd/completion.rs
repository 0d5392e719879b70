//! `completion`: a script for the user's shell, and the answers it asks this program for.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Command, CommandFactory};
use clap_complete::env::Shells;
use clap_complete::{CompleteEnv, Shell};

use crate::args::Cli;
use crate::args::complete::{Kind, offer_names};
use crate::failure::Failure;
use crate::output;
use crate::store::inventory::Inventory;
use crate::store::lineage;
use crate::store::paths::{self, Paths};

/// The script has this program answer instead of working where it is set.
const VARIABLE: &str = "OFFSHOOT_COMPLETE";

/// Prints the script.
pub fn completion(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    let shell = shell.to_string();
    let shells = Shells::builtins();
    let completer = shells.completer(&shell).ok_or_else(|| {
        Failure::usage(format!("there is no completion for {shell}"))
            .hint("bash, elvish, fish, powershell or zsh")
    })?;
    completer.write_registration(VARIABLE, "offshoot", "offshoot", "offshoot", &mut script)?;
    output::print_bytes(&script)
}

/// Answers a shell and ends this process, where it was a shell that started it.
pub fn answer_shell() {
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

fn command() -> Command {
    offer_names(Cli::command(), |kind| names(kind).unwrap_or_default())
}

/// What there is in the store. A shell asks at every key: where there is no store none is made,
/// and what cannot be read is not offered.
fn names(kind: Kind) -> Result<Vec<String>> {
    let root = match std::env::var_os("OFFSHOOT_ROOT") {
        Some(root) => PathBuf::from(root),
        None => paths::default_root()?,
    };
    let path = Paths::new(&root)?.inventory();
    if !path.exists() {
        return Ok(Vec::new());
    }
    let inventory = Inventory::open(&path)?;
    let images: Vec<_> = inventory.images()?.into_iter().map(|row| row.name.to_string()).collect();
    let vms: Vec<_> = inventory.vms()?.into_iter().map(|row| row.name.to_string()).collect();
    let mut layers = inventory.layers()?;
    layers.retain(|layer| layer.vm.is_some() && layer.name.is_some());
    Ok(match kind {
        Kind::Image => images,
        Kind::Vm => vms,
        Kind::Either => images.into_iter().chain(vms).collect(),
        Kind::Snapshot => layers.into_iter().filter_map(|l| l.name).map(String::from).collect(),
        Kind::Source => {
            images.into_iter().chain(vms).chain(layers.iter().map(lineage::label)).collect()
        }
    })
}
