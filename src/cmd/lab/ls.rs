//! `lab ls`: the clones a lab has, and those it should have.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::App;
use crate::cmd::ls::{self, View};
use crate::lab::{self, GROUP, Lab, roster};
use crate::output::table::{self, Align};
use crate::output::{self, Style, human};
use crate::store::Name;

/// The whole list. The keys are stable.
#[derive(Serialize)]
struct List<'a> {
    lab: &'a Name,
    members: Vec<Member>,
}

/// A clone that is there, should be there, or both.
#[derive(Serialize)]
struct Member {
    name: Name,
    group: String,
    in_file: bool,
    vm: Option<View>,
}

/// Lists them: those in the file in its order, then others.
pub fn ls(app: &App, path: &Path) -> Result<()> {
    let lab = Lab::read(path)?;
    let list = List { lab: &lab.name, members: members(app, &lab)? };
    match app.style {
        Style::Json => output::print_json(&list),
        Style::Names => {
            let there = list.members.iter().filter(|member| member.vm.is_some());
            output::print(&there.map(|member| format!("{}\n", member.name)).collect::<String>())
        }
        Style::Table => output::print(&lay_out(&list.members)),
    }
}

fn members(app: &App, lab: &lab::Lab) -> Result<Vec<Member>> {
    let views = ls::views_of(&app.store()?, |row| roster::is_of(lab, row))?;
    let mut views: BTreeMap<Name, View> =
        views.into_iter().map(|view| (view.name.clone(), view)).collect();
    let wanted = lab.clones().map(|(number, name)| Member {
        name: name.clone(),
        group: lab.groups[number].name.to_string(),
        in_file: true,
        vm: views.remove(name),
    });
    let mut members: Vec<_> = wanted.collect();
    members.extend(views.into_values().map(|view| Member {
        name: view.name.clone(),
        group: view.labels.get(GROUP).cloned().unwrap_or_default(),
        in_file: false,
        vm: Some(view),
    }));
    Ok(members)
}

fn lay_out(members: &[Member]) -> String {
    use Align::{Left, Right};
    let header =
        [("NAME", Left), ("GROUP", Left), ("STATE", Left), ("OWN", Right), ("NOTES", Left)];
    let rows = members.iter().map(|member| {
        let view = member.vm.as_ref();
        let notes = view.map(|view| view.notes.as_str()).unwrap_or_default();
        let notes = if member.in_file { notes } else { "not in the lab's file any more" };
        [
            member.name.to_string().into(),
            member.group.clone().into(),
            view.map_or_else(|| "absent".to_owned().into(), View::status),
            view.map_or("-".into(), |view| human::bytes(view.own_bytes)).into(),
            notes.to_owned().into(),
        ]
    });
    table::lay_out(header, rows)
}
