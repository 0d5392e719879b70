//! Doing what a plan says, step by step. What fails is noted on its seat; the rest goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::ProgressBar;

use super::plan::{Seat, Step};
use super::{Lab, Roster};
use crate::failure::{self, Code, Failure};
use crate::monitor::{self, State};
use crate::output::{self, progress};
use crate::parallel;
use crate::store::clone::{CloneRequest, Names};
use crate::store::{Away, Name, Store, Vm, Writer};

/// How running clones are stopped.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// At once.
    Kill,
    /// With the power button, at once where that does not help in this time.
    Button(Duration),
}

/// Who does it.
pub struct Crew<'a> {
    pub store: &'a mut Store,
    pub lab: &'a Lab,
    pub roster: &'a Roster,
    /// Without progress.
    pub quiet: bool,
}

impl Crew<'_> {
    /// Refuses a plan that would change what is protected.
    ///
    /// # Errors
    /// Something is: all of it.
    pub fn refuse_protected(&self, plan: &[Seat]) -> Result<()> {
        let lost = plan.iter().filter(|s| s.is_due(Step::Reset) || s.is_due(Step::Remove));
        let refuse = |seat: &Seat| {
            let refused = self.store.refuse_protected(&seat.name);
            refused.with_context(|| format!("cannot touch {}", seat.name)).err()
        };
        failure::all(lost.filter_map(refuse).collect())
    }

    /// Makes what is missing, each group's clones in one step.
    pub fn make(&mut self, plan: &mut [Seat]) {
        let bar = self.bar(plan, Step::Make, "making clones");
        for number in 0..self.lab.groups.len() {
            let of_it = |seat: &&mut Seat| seat.number == Some(number) && seat.is_due(Step::Make);
            let mut due: Vec<_> = plan.iter_mut().filter(of_it).collect();
            if due.is_empty() {
                continue;
            }
            let made = self.clone(number, &due);
            bar.inc(due.len() as u64);
            due.iter_mut().for_each(|seat| match &made {
                Ok(()) => seat.note(Step::Make, Ok(())),
                Err(error) => seat.fail(error),
            });
        }
        bar.finish_and_clear();
    }

    /// Clones what is due of a group. Each has the number it would have if all were made.
    fn clone(&mut self, number: usize, due: &[&mut Seat]) -> Result<()> {
        let group = &self.lab.groups[number];
        let missing = |name: &Name| due.iter().any(|seat| seat.name == *name);
        let names = group.names.iter().cloned().zip(1..).filter(|(name, _)| missing(name));
        let names = Names::Numbered(names.collect());
        let request = CloneRequest { names, ..group.request.clone() };
        let made = self.store.clone(&request, monitor::writer);
        let made = made.with_context(|| format!("cannot clone {}", request.source))?;
        if let Some(remark) = made.remark(&request.source).filter(|_| !self.quiet) {
            output::tell(&format!("offshoot: {remark}\n"));
        }
        Ok(())
    }

    /// Starts groups in their order; none of which one that comes before is not up.
    pub fn start(&self, plan: &mut [Seat]) {
        let bar = self.bar(plan, Step::Start, "starting");
        let root = self.store.paths.root().to_owned();
        for stage in &self.lab.stages {
            for &number in stage {
                self.hold_back(plan, number);
            }
            let of_it = |seat: &Seat| seat.number.is_some_and(|number| stage.contains(&number));
            side_by_side(plan, Step::Start, of_it, &bar, |seat| {
                monitor::bring_up(&root, &seat.name, None)
            });
        }
        bar.finish_and_clear();
    }

    /// Does not start a group that comes after one which failed.
    fn hold_back(&self, plan: &mut [Seat], number: usize) {
        let failed: BTreeSet<usize> = plan
            .iter()
            .filter(|seat| seat.error.is_some())
            .filter_map(|seat| seat.number)
            .collect();
        let after = &self.lab.groups[number].after;
        let Some(&before) = after.iter().find(|before| failed.contains(before)) else { return };
        let what = format!("group {}, which is to run before it, does not", {
            &self.lab.groups[before].name
        });
        let of_it = |seat: &&mut Seat| seat.number == Some(number) && seat.is_due(Step::Start);
        for seat in plan.iter_mut().filter(of_it) {
            let error = anyhow::Error::new(Failure::new(Code::Failed, &what));
            seat.fail(&error.context(format!("{} was not started", seat.name)));
            seat.waits = true;
        }
    }

    /// Stops what runs, those that were started last first.
    pub fn stop(&self, plan: &mut [Seat], how: Stop) {
        let bar = self.bar(plan, Step::Stop, "stopping");
        let roster = self.roster;
        let act = |seat: &Seat| stop(roster, &seat.name, how);
        side_by_side(plan, Step::Stop, |seat| seat.number.is_none(), &bar, act);
        for stage in self.lab.stages.iter().rev() {
            let of_it = |seat: &Seat| seat.number.is_some_and(|number| stage.contains(&number));
            side_by_side(plan, Step::Stop, of_it, &bar, act);
        }
        bar.finish_and_clear();
    }

    /// Takes clones that do not run back to what they stand on.
    pub fn reset(&mut self, plan: &mut [Seat]) {
        let bar = self.bar(plan, Step::Reset, "resetting");
        let mut due: Vec<_> = plan.iter_mut().filter(|seat| seat.is_due(Step::Reset)).collect();
        self.reset_all(&mut due);
        bar.inc(due.len() as u64);
        bar.finish_and_clear();
    }

    fn reset_all(&mut self, due: &mut [&mut Seat]) {
        let mut stopped = Vec::new();
        for seat in due.iter_mut() {
            match self.stopped(&seat.name) {
                Ok(vm) => stopped.push(vm),
                Err(error) => seat.fail(&error.context(format!("cannot reset {}", seat.name))),
            }
        }
        let stopped: Vec<_> = stopped.iter().map(|(vm, writer)| (vm, writer)).collect();
        let left = due.iter_mut().filter(|seat| seat.error.is_none());
        note_all(left, Step::Reset, self.store.reset_all(&stopped));
    }

    /// A clone that does not run, and its lock.
    fn stopped(&self, name: &Name) -> Result<(Vm, Writer)> {
        let vm = self.store.vm(name)?;
        let writer = monitor::stopped(&vm)?;
        Ok((vm, writer))
    }

    /// Removes clones that do not run, in one step.
    pub fn remove(&mut self, plan: &mut [Seat]) {
        let bar = self.bar(plan, Step::Remove, "removing");
        let mut due: Vec<_> = plan.iter_mut().filter(|seat| seat.is_due(Step::Remove)).collect();
        let names: Vec<_> = due.iter().map(|seat| seat.name.clone()).collect();
        let removed = self.store.remove_vms(&names, Away::Keep);
        note_all(due.iter_mut(), Step::Remove, removed);
        bar.inc(due.len() as u64);
        bar.finish_and_clear();
    }

    fn bar(&self, plan: &[Seat], step: Step, what: &str) -> ProgressBar {
        let due = plan.iter().filter(|seat| seat.is_due(step)).count();
        progress::count(what.into(), due as u64, self.quiet || due == 0)
    }
}

/// Takes in what came of a step that was one for all of these.
fn note_all<'a, 'b: 'a>(
    seats: impl Iterator<Item = &'a mut &'b mut Seat>,
    step: Step,
    results: Result<Vec<Result<()>>>,
) {
    match results {
        Err(error) => seats.for_each(|seat| seat.fail(&error)),
        Ok(results) => seats.zip(results).for_each(|(seat, result)| {
            let cannot = || format!("cannot {} {}", step.word(), seat.name);
            let result = result.with_context(cannot);
            seat.note(step, result);
        }),
    }
}

fn stop(roster: &Roster, name: &Name, how: Stop) -> Result<()> {
    let Some(member) = roster.members.get(name) else { return Ok(()) };
    let stopped = match how {
        Stop::Kill => monitor::kill(&member.dir),
        Stop::Button(patience) => monitor::shut_down(&member.dir, patience),
    };
    match stopped {
        // It may have ended by itself.
        Err(_) if !State::of(&member.dir)?.is_live() => Ok(()),
        stopped => stopped.with_context(|| format!("cannot stop {name}")),
    }
}

/// Does a step on those of the seats where it is due, several at a time.
fn side_by_side(
    plan: &mut [Seat],
    step: Step,
    chosen: impl Fn(&Seat) -> bool,
    bar: &ProgressBar,
    act: impl Fn(&Seat) -> Result<()> + Sync,
) {
    let mut due: Vec<_> =
        plan.iter_mut().filter(|seat| chosen(seat) && seat.is_due(step)).collect();
    let results = parallel::each(&due, |seat| {
        let result = act(seat);
        bar.inc(1);
        result
    });
    for (seat, result) in due.iter_mut().zip(results) {
        seat.note(step, result);
    }
}
