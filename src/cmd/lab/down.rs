//! `lab down`: nothing of a lab runs, and unless it is kept, nothing is left of it.

use anyhow::{Context, Result};

use super::App;
use super::report::Report;
use crate::args;
use crate::lab::apply::{Crew, Stop};
use crate::lab::{Lab, Roster, plan};

/// Stops in the reverse order, then removes.
pub fn down(app: &App, args: &args::LabDown) -> Result<()> {
    let lab = Lab::read(&args.file.path)?;
    lab.lock()?;
    let mut store = app.store()?;
    let roster = Roster::of(&store, &lab)?;
    let mut plan = plan::down(&lab, &roster, args.keep);
    let how = if args.force { Stop::Kill } else { Stop::Button(args.timeout) };
    let mut crew = Crew { store: &mut store, lab: &lab, roster: &roster, quiet: app.quiet };
    crew.refuse_protected(&plan).with_context(|| format!("cannot take down {}", lab.name))?;
    crew.stop(&mut plan, how);
    crew.remove(&mut plan);
    let report = Report { lab: &lab, memory: None, members: &plan, planned: false };
    report.print(app)?;
    report.result()
}
