//! `wait`: until VMs end, and how they did.

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::{App, each};
use crate::failure::Failure;
use crate::monitor::{self, End, State};
use crate::output::{self, Style};
use crate::store::Name;

#[derive(Serialize)]
struct View<'a> {
    name: &'a Name,
    state: &'static str,
    #[serde(flatten)]
    end: Option<End>,
}

/// Waits for each, and prints how each ended, in the order asked.
pub fn wait(app: &App, names: &[Name]) -> Result<()> {
    let store = app.store()?;
    let mut views = Vec::new();
    let result = each(names, |name| {
        let wait = || {
            let vm = store.vm(name)?;
            monitor::wait(&vm.dir, None)?;
            let state = State::of(&vm.dir)?;
            ensure!(
                !matches!(state, State::Created),
                Failure::in_use("it was never started").hint(format!("offshoot start {name}"))
            );
            Ok(state)
        };
        let state = wait().with_context(|| format!("cannot wait for {name}"))?;
        let word = state.word();
        let end = if let State::Stopped(end) = state { Some(end) } else { None };
        match (app.style, &end) {
            (Style::Json, _) => Ok(()),
            (Style::Names, Some(end)) => output::print(&format!("{}\n", end.status)),
            (_, Some(end)) => output::print(&format!("{name}: {}\n", end.describe())),
            (_, None) => output::print(&format!("{name}: {word}\n")),
        }?;
        views.push(View { name, state: word, end });
        Ok(())
    });
    if app.style == Style::Json {
        output::print_json(&views)?;
    }
    result
}
