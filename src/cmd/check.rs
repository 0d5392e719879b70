//! `check`: whether images and VMs are what they were.

use anyhow::Result;
use serde::Serialize;

use super::App;
use crate::args;
use crate::failure::{self, Code};
use crate::output::{self, Style, progress};
use crate::store::{Name, Store};

/// How a check came out. The keys are stable.
#[derive(Serialize)]
struct View {
    name: Name,
    sound: bool,
    /// What is wrong; nothing where it is sound.
    problem: Option<String>,
    /// What to do.
    try_next: Option<String>,
    #[serde(skip)]
    code: Option<Code>,
}

/// Checks these, or all there are, and ends with 5 where one is damaged.
pub fn check(app: &App, args: &args::Check) -> Result<u8> {
    let store = app.store()?;
    let names = if args.names.is_empty() { all(&store)? } else { args.names.clone() };
    let views: Vec<View> =
        names.into_iter().map(|name| look(app, &store, name, args.deep)).collect();
    match app.style {
        Style::Json => output::print_json(&views)?,
        Style::Names => {
            let bad = views.iter().filter(|view| !view.sound);
            output::print(&bad.map(|view| format!("{}\n", view.name)).collect::<String>())?;
        }
        Style::Table => output::print(&views.iter().map(View::describe).collect::<String>())?,
    }
    let codes = || views.iter().filter_map(|view| view.code);
    let damaged = codes().find(|code| *code == Code::Integrity);
    Ok(damaged.or_else(|| codes().next()).map_or(0, |code| code as u8))
}

fn all(store: &Store) -> Result<Vec<Name>> {
    let images = store.inventory.images()?.into_iter().map(|image| image.name);
    Ok(images.chain(store.inventory.vms()?.into_iter().map(|vm| vm.name)).collect())
}

fn look(app: &App, store: &Store, name: Name, deep: bool) -> View {
    let bar = progress::bytes(format!("reading {name}"), app.quiet || !deep);
    let checked = store.check(&name, deep, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let error = checked.err();
    View {
        sound: error.is_none(),
        problem: error.as_ref().map(failure::text),
        try_next: error.as_ref().and_then(failure::hint).map(str::to_owned),
        code: error.as_ref().map(failure::code),
        name,
    }
}

impl View {
    fn describe(&self) -> String {
        let problem = self.problem.as_deref().unwrap_or("sound");
        let next = self.try_next.as_ref().map(|next| format!("    try: {next}\n"));
        format!("{}: {problem}\n{}", self.name, next.unwrap_or_default())
    }
}
