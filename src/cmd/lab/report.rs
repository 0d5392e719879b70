//! What is to be done to a lab, or was: for people and for programs.

use anyhow::Result;
use serde::Serialize;

use super::App;
use crate::failure::{self, Code};
use crate::lab::Lab;
use crate::lab::admission::Memory;
use crate::lab::plan::{Seat, Step};
use crate::output::table::{self, Align};
use crate::output::{self, Style};
use crate::store::Name;

/// A plan before or after it was done.
pub struct Report<'a> {
    pub lab: &'a Lab,
    pub memory: Option<Memory>,
    pub members: &'a [Seat],
    /// Whether it is only a plan.
    pub planned: bool,
}

/// What programs see. The keys are stable.
#[derive(Serialize)]
struct View<'a> {
    lab: &'a Name,
    memory: Option<Memory>,
    members: &'a [Seat],
}

impl Report<'_> {
    /// Prints it.
    ///
    /// # Errors
    /// Nobody reads it.
    pub fn print(&self, app: &App) -> Result<()> {
        match app.style {
            Style::Json => output::print_json(&View {
                lab: &self.lab.name,
                memory: self.memory,
                members: self.members,
            }),
            Style::Names => {
                let touched = self.members.iter().filter(|seat| !self.steps(seat).is_empty());
                let names: String = touched.map(|seat| format!("{}\n", seat.name)).collect();
                output::print(&names)
            }
            Style::Table if self.members.is_empty() => {
                output::print(&format!("there is nothing of the lab {}\n", self.lab.name))
            }
            Style::Table => output::print(&self.lay_out()),
        }
    }

    /// What went wrong with any of the clones: what is missing after what failed, and last what is
    /// only the consequence of another's failure.
    ///
    /// # Errors
    /// Something did.
    pub fn result(&self) -> Result<()> {
        let mut failed: Vec<_> = self.members.iter().filter(|seat| seat.error.is_some()).collect();
        let missing = |seat: &&Seat| seat.error.as_ref().is_some_and(|e| e.code == Code::NotFound);
        failed.sort_by_key(|seat| (seat.waits, missing(seat)));
        failure::all(
            failed.into_iter().filter_map(|seat| seat.error.clone()).map(Into::into).collect(),
        )
    }

    fn steps<'s>(&self, seat: &'s Seat) -> &'s [Step] {
        if self.planned { &seat.steps } else { &seat.done }
    }

    fn lay_out(&self) -> String {
        let title = if self.planned { "PLAN" } else { "DONE" };
        let header = ["NAME", "GROUP", "WAS", title].map(|title| (title, Align::Left));
        let rows = self.members.iter().map(|seat| {
            [seat.name.to_string(), seat.group.clone(), seat.state.to_owned(), self.words(seat)]
        });
        table::lay_out(header, rows)
    }

    /// What becomes or became of a clone, in words.
    fn words(&self, seat: &Seat) -> String {
        let steps = self.steps(seat).iter().map(|step| step.word().to_owned());
        let differs = seat.differs.iter().map(|what| format!("kept: {what}"));
        let failed = seat.error.as_ref().map(|_| "failed".to_owned());
        let all: Vec<String> = steps.chain(failed).chain(differs).collect();
        if all.is_empty() { "-".into() } else { all.join(", ") }
    }
}
