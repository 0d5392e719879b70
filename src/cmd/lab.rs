//! `lab`: clones that belong together, as a file says. docs/labs.md.

mod down;
mod ls;
mod report;
mod reset;
mod up;

use anyhow::Result;

use super::App;
use crate::args;

/// Does what is asked of a lab.
pub fn lab(app: &App, args: &args::Lab) -> Result<()> {
    match args {
        args::Lab::Up(args) => up::up(app, args),
        args::Lab::Ls { file } => ls::ls(app, &file.path),
        args::Lab::Reset(args) => reset::reset(app, args),
        args::Lab::Down(args) => down::down(app, args),
    }
}
