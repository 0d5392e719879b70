//! Verbs that look after a whole store.

use clap::Args;

use super::value::since;
use crate::store::{Name, Timestamp};

#[derive(Debug, Args)]
pub struct Doctor {
    /// Put in order what can be; what could hold somebody's work is kept
    #[arg(long)]
    pub fix: bool,
}

#[derive(Debug, Args)]
pub struct Events {
    /// Only what happened since: an age, as 10m, or a time, as 2026-11-21T09:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Timestamp>,
    /// Go on as things happen; without --since, from now
    #[arg(short, long)]
    pub follow: bool,
}

#[derive(Debug, Args)]
pub struct Df {
    /// Images and VMs; all, and the total, when not said
    pub names: Vec<Name>,
}

#[derive(Debug, Args)]
pub struct Check {
    /// Images and VMs; all when not said
    pub names: Vec<Name>,
    /// Read all of the images, too, and compare their digests
    #[arg(long)]
    pub deep: bool,
}
