//! Verbs for what people say about images and VMs.

use clap::Args;

use super::value::{label_change, note};
use crate::store::Name;

#[derive(Debug, Args)]
pub struct Rename {
    /// An image or a VM, which may run
    pub old: Name,
    /// What it is to be called
    pub new: Name,
}

#[derive(Debug, Args)]
pub struct Note {
    /// An image or a VM
    pub name: Name,
    /// Something to remember it by; "" takes the note away
    #[arg(value_parser = note)]
    pub text: Option<String>,
}

#[derive(Debug, Args)]
pub struct Label {
    /// An image or a VM
    pub name: Name,
    /// KEY=VALUE sets a label, KEY- takes it away
    #[arg(value_name = "KEY=VALUE|KEY-", value_parser = label_change)]
    pub changes: Vec<LabelChange>,
}

/// What is to become of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelChange {
    /// It has this value from now on.
    Set(String, String),
    /// It goes.
    Remove(String),
}

#[derive(Debug, Args)]
pub struct Protect {
    /// Images and VMs
    #[arg(required = true)]
    pub names: Vec<Name>,
    /// Protect them no longer
    #[arg(long)]
    pub off: bool,
}
