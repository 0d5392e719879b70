//! `lab reset`: all clones as new, for the next lesson.

use anyhow::{Context, Result};

use super::App;
use super::report::Report;
use crate::args;
use crate::lab::admission::Memory;
use crate::lab::apply::{Crew, Stop};
use crate::lab::{Lab, Roster, plan};

/// Stops at once, resets, starts.
pub fn reset(app: &App, args: &args::LabReset) -> Result<()> {
    let lab = Lab::read(&args.file.path)?;
    lab.lock()?;
    let mut store = app.store()?;
    let roster = Roster::of(&store, &lab)?;
    let mut plan = plan::reset(&lab, &roster);
    let memory = Memory::of(&lab, &roster, &plan)?;
    if let Some(memory) = memory.filter(|_| !args.overcommit) {
        memory.admit(&lab).with_context(|| format!("cannot reset {}", lab.name))?;
    }
    let mut crew = Crew { store: &mut store, lab: &lab, roster: &roster, quiet: app.quiet };
    crew.refuse_protected(&plan).with_context(|| format!("cannot reset {}", lab.name))?;
    crew.stop(&mut plan, Stop::Kill);
    crew.reset(&mut plan);
    crew.start(&mut plan);
    let report = Report { lab: &lab, memory, members: &plan, planned: false };
    report.print(app)?;
    report.result()
}
