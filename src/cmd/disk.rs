//! `disk`: a VM's disk by itself, without the machine.

mod serve;

use anyhow::Result;

use super::App;
use crate::args;

/// Does what was asked.
pub fn disk(app: &App, args: &args::Disk) -> Result<()> {
    match args {
        args::Disk::Serve(args) => serve::serve(app, args),
    }
}
