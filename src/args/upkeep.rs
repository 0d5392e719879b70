//! Verbs that look after a whole store.

use clap::Args;

#[derive(Debug, Args)]
pub struct Doctor {
    /// Put in order what can be; what could hold somebody's work is kept
    #[arg(long)]
    pub fix: bool,
}
