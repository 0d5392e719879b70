//! `lab up`: what the file says, and is not there yet.

use anyhow::{Context, Result};

use super::App;
use super::report::Report;
use crate::args;
use crate::lab::admission::Memory;
use crate::lab::apply::Crew;
use crate::lab::{Lab, Roster, plan};

/// Plans, admits, makes, starts; or only plans.
pub fn up(app: &App, args: &args::LabUp) -> Result<()> {
    let lab = Lab::read(&args.file.path)?;
    lab.lock()?;
    let cannot = || format!("cannot bring up {}", lab.name);
    let mut store = app.store()?;
    let roster = Roster::of(&store, &lab)?;
    let mut plan = plan::up(&lab, &roster).with_context(cannot)?;
    let memory = Memory::of(&lab, &roster, &plan)?;
    if args.dry_run {
        Report { lab: &lab, memory, members: &plan, planned: true }.print(app)?;
    }
    if let Some(memory) = memory.filter(|_| !args.overcommit) {
        memory.admit(&lab).with_context(cannot)?;
    }
    if args.dry_run {
        return Ok(());
    }
    let mut crew = Crew { store: &mut store, lab: &lab, roster: &roster, quiet: app.quiet };
    crew.make(&mut plan);
    crew.start(&mut plan);
    let report = Report { lab: &lab, memory, members: &plan, planned: false };
    report.print(app)?;
    report.result()
}
