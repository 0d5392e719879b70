//! `rm --cascade`: images and VMs with all that stands on them, listed before anything goes.

use anyhow::{Context, Result, ensure};

use crate::args;
use crate::cmd::{App, ls};
use crate::failure::{self, Code, Failure};
use crate::output::table::{self, Align, Cell};
use crate::output::{self, Style, human};
use crate::store::discard::Cascade;
use crate::store::{Away, Name, Store};
use crate::terminal;

/// Removes all of it, or nothing, and says what with `--format json`.
pub fn rm(app: &App, args: &args::Rm) -> Result<()> {
    let names = args.names.iter().map(Name::to_string).collect::<Vec<_>>().join(" ");
    let gone = remove(app, args, &names);
    let gone = gone.with_context(|| format!("cannot remove {names} and all that stands on it"))?;
    match app.style {
        Style::Json => output::print_json(&gone),
        Style::Names => {
            let names = gone.images.iter().chain(&gone.vms);
            output::print(&names.map(|name| format!("{name}\n")).collect::<String>())
        }
        Style::Table => Ok(()),
    }
}

fn remove(app: &App, args: &args::Rm, names: &str) -> Result<Cascade> {
    let mut store = app.store()?;
    let all = store.cascade(&args.names)?;
    let views = ls::views(&store)?;
    refuse_some(&store, &all, &views)?;
    let nothing_else = all.vms.len() + all.images.len() <= args.names.len();
    if !(nothing_else && all.snapshots.is_empty()) {
        if !app.quiet {
            output::tell(&lay_out(&all, &views));
        }
        if !args.force {
            confirm(&all, names)?;
        }
    }
    store.remove_cascade(&args.names, &all, Away::of(args.forget))?;
    Ok(all)
}

/// Refuses to go on where one of them runs or is protected; all such are named.
fn refuse_some(store: &Store, all: &Cascade, views: &[ls::View]) -> Result<()> {
    let live = |view: &&ls::View| {
        matches!(view.state, "starting" | "busy" | "running" | "paused" | "serving" | "reading")
    };
    let going = views.iter().filter(|view| all.vms.contains(&view.name));
    let live: Vec<_> = going.filter(live).map(|view| view.name.as_str()).collect();
    ensure!(
        live.is_empty(),
        Failure::in_use(format!("these run: {}", failure::few(&live)))
            .hint(for_each("offshoot stop", &live))
    );
    let kept = all.snapshots.iter().map(|snapshot| &snapshot.vm);
    let every = all.images.iter().chain(&all.vms).chain(kept);
    let protected: Vec<_> =
        every.filter(|name| store.refuse_protected(name).is_err()).map(Name::as_str).collect();
    ensure!(
        protected.is_empty(),
        Failure::in_use(format!("these are protected: {}", failure::few(&protected)))
            .hint(for_each("offshoot protect --off", &protected))
    );
    Ok(())
}

/// A command for all of these, where they are few.
fn for_each(command: &str, names: &[&str]) -> String {
    match names.len() {
        ..=failure::FEW => format!("{command} {}", names.join(" ")),
        _ => format!("{command} each of them; offshoot ls shows which"),
    }
}

fn confirm(all: &Cascade, names: &str) -> Result<()> {
    let several = |count: usize, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        _ => Some(format!("{count} {what}s")),
    };
    let counts = [
        several(all.images.len(), "image"),
        several(all.vms.len(), "VM"),
        several(all.snapshots.len(), "snapshot"),
    ];
    let counts = counts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    match terminal::confirm(&format!("Remove {counts}?"))? {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new(Code::Failed, "nothing was removed").into()),
        None => {
            let what = format!("{counts} would go, and nobody is here to be asked");
            Err(Failure::in_use(what).hint(format!("offshoot rm --cascade -f {names}")).into())
        }
    }
}

fn lay_out(all: &Cascade, views: &[ls::View]) -> String {
    let of = |name: String, state: Cell, own: String| [name.into(), state, own.into()];
    let images = all
        .images
        .iter()
        .map(|name| of(name.to_string(), "image".to_owned().into(), String::new()));
    let vms = views.iter().filter(|view| all.vms.contains(&view.name));
    let vms =
        vms.map(|view| of(view.name.to_string(), view.status(), human::bytes(view.own_bytes)));
    let snapshots = all.snapshots.iter().map(|snapshot| {
        let state = format!("snapshot of {}", snapshot.vm);
        of(snapshot.label.clone(), state.into(), String::new())
    });
    let header = [("NAME", Align::Left), ("STATE", Align::Left), ("OWN", Align::Right)];
    table::lay_out(header, images.chain(vms).chain(snapshots))
}
