//! What each verb does. One file for each; a `Targets` verb does its work name by name.

mod attach;
mod check;
mod clone;
mod commit;
mod compact;
mod completion;
mod console;
mod demo;
mod df;
mod disk;
mod doctor;
mod events;
mod export;
mod flatten;
mod guarded;
mod image;
mod inspect;
mod lab;
mod label;
mod logs;
mod ls;
mod man;
mod note;
mod pause;
mod promote;
mod protect;
mod prune;
mod rebase;
mod rename;
mod reset;
mod reshape;
mod resize;
mod restart;
mod rm;
mod run;
mod snapshot;
mod start;
mod stop;
mod tree;
mod version;
mod wait;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::args::{self, Cli, Format, Global, Verb};
use crate::failure::{self, Failure};
use crate::output::Style;
use crate::store::clone::{CloneRequest, Names, Source};
use crate::store::customize::load_spec;
use crate::store::{Name, Store, paths, vm};

pub use completion::answer_shell;

/// What every verb knows.
pub struct App {
    root: PathBuf,
    style: Style,
    quiet: bool,
}

impl App {
    fn new(global: &Global, verb: &Verb) -> Result<App> {
        let root = global.root.clone().map_or_else(paths::default_root, Ok)?;
        let json = global.format.contains(&Format::Json);
        let style = match (json, global.quiet) {
            (true, _) => Style::Json,
            (false, true) => Style::Names,
            (false, false) => Style::Table,
        };
        let of_disk = global.format.iter().find(|f| !matches!(f, Format::Table | Format::Json));
        if let Some(format) = of_disk
            && !names_a_disk_format(verb)
        {
            let what = format!("--format {format:?} is for image import and whole exports");
            let what = what.to_lowercase();
            return Err(Failure::usage(what).hint("--format table or --format json").into());
        }
        Ok(App { root, style, quiet: global.quiet })
    }

    fn store(&self) -> Result<Store> {
        Store::open(&self.root)
    }
}

/// Whether `--format` of this verb may also say what a file is, or is to be.
fn names_a_disk_format(verb: &Verb) -> bool {
    match verb {
        Verb::Image(image) => matches!(image, args::Image::Import(_) | args::Image::Export(_)),
        Verb::Export(export) => export.flat,
        _ => false,
    }
}

/// Does what was asked; says what the process is to end with.
///
/// # Errors
/// It could not be done.
pub fn perform(cli: Cli) -> Result<u8> {
    let app = App::new(&cli.global, &cli.verb)?;
    match cli.verb {
        Verb::Run(args) => return run::run(&app, args),
        Verb::Demo(args) => return demo::demo(&app, &args),
        Verb::Image(args) => image::image(&app, args, &cli.global.format)?,
        Verb::Clone(args) => clone::clone(&app, args)?,
        Verb::Start(args) => start::start(&app, &args)?,
        Verb::Stop(args) => stop::stop(&app, &args)?,
        Verb::Restart(args) => restart::restart(&app, &args)?,
        Verb::Wait(args) => wait::wait(&app, &args.names)?,
        Verb::Pause(args) => pause::pause(&app, &args.names)?,
        Verb::Resume(args) => pause::resume(&app, &args.names)?,
        Verb::Rm(args) => rm::rm(&app, &args)?,
        Verb::Ls(_) => ls::ls(&app, true)?,
        Verb::Ps(args) => ls::ls(&app, args.all)?,
        Verb::Inspect(args) => inspect::inspect(&app, &args.names)?,
        Verb::Rename(args) => rename::rename(&app, args)?,
        Verb::Note(args) => note::note(&app, args)?,
        Verb::Label(args) => label::label(&app, args)?,
        Verb::Protect(args) => protect::protect(&app, &args)?,
        Verb::Logs(args) => logs::logs(&app, &args)?,
        Verb::Console(args) => console::console(&app, &args.name)?,
        Verb::Disk(args) => disk::disk(&app, &args)?,
        Verb::Snapshot(args) => snapshot::snapshot(&app, args)?,
        Verb::Reset(args) => reset::reset(&app, &args)?,
        Verb::Flatten(args) => flatten::flatten(&app, &args.name)?,
        Verb::Promote(args) => promote::promote(&app, &args.name)?,
        Verb::Commit(args) => commit::commit(&app, &args.name)?,
        Verb::Rebase(args) => rebase::rebase(&app, &args)?,
        Verb::Resize(args) => resize::resize(&app, &args)?,
        Verb::Compact(args) => compact::compact(&app, &args.name)?,
        Verb::Prune(args) => prune::prune(&app, &args)?,
        Verb::Export(args) if args.flat => export::flat(&app, args, &cli.global.format)?,
        Verb::Export(args) => export::export(&app, &args)?,
        Verb::Attach(args) => attach::attach(&app, &args)?,
        Verb::Tree(args) => tree::tree(&app, args.name.as_ref())?,
        Verb::Lab(args) => lab::lab(&app, &args)?,
        Verb::Events(args) => events::events(&app, &args)?,
        Verb::Df(args) => df::df(&app, &args.names)?,
        Verb::Check(args) => return check::check(&app, &args),
        Verb::Doctor(args) => return doctor::doctor(&app, &args),
        Verb::Version => version::version(&app)?,
        Verb::Man(args) => man::man(&args)?,
        Verb::Completion { shell } => completion::completion(shell)?,
    }
    Ok(0)
}

/// Does something to each name, all of them even if some fail.
fn each<'a>(names: &'a [Name], mut act: impl FnMut(&'a Name) -> Result<()>) -> Result<()> {
    failure::all(names.iter().filter_map(|name| act(name).err()).collect())
}

/// Names without repetitions, in their order.
fn distinct(names: &[Name]) -> impl Iterator<Item = &Name> {
    let mut seen = BTreeSet::new();
    names.iter().filter(move |name| seen.insert(*name))
}

/// What went well, and what went wrong.
fn sift<T>(results: impl IntoIterator<Item = Result<T>>) -> (Vec<T>, Vec<anyhow::Error>) {
    let (mut done, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => done.push(value),
            Err(error) => errors.push(error),
        }
    }
    (done, errors)
}

/// What went wrong with what was done to many in one step.
fn failed(cannot: &str, names: &[&Name], results: Result<Vec<Result<()>>>) -> Vec<anyhow::Error> {
    match results {
        Err(error) => {
            let all = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
            vec![error.context(format!("{cannot} {all}"))]
        }
        Ok(results) => {
            let of_each = names.iter().zip(results);
            sift(of_each.map(|(name, it)| it.with_context(|| format!("{cannot} {name}")))).1
        }
    }
}

/// What a clone is to be made with, as the store wants it.
fn clone_request(source: Source, names: Names, machine: args::Machine) -> Result<CloneRequest> {
    Ok(CloneRequest {
        source,
        names,
        cpus: machine.cpus,
        memory_mib: machine.memory,
        disk_size: machine.disk_size,
        boot: vm::Boot {
            kernel: machine.boot.kernel.map(present).transpose()?,
            initrd: machine.boot.initrd.map(present).transpose()?,
            cmdline: machine.boot.cmdline,
        },
        notes: machine.notes,
        labels: machine.labels.into_iter().collect(),
        spec: machine.spec.as_deref().map(load_spec).transpose()?,
        ephemeral: machine.ephemeral,
        delta_dir: machine.delta_dir.map(std::path::absolute).transpose()?,
        keep_identity: false,
    })
}

/// A file the clone will need at every start, by a path that holds wherever it is started from.
fn present(path: PathBuf) -> Result<PathBuf> {
    let not_there = |error| Failure::not_found(format!("cannot use {}: {error}", path.display()));
    let full = path.canonicalize().map_err(not_there)?;
    match full.is_file() {
        true => Ok(full),
        false => Err(Failure::usage(format!("{} is not a file", path.display())).into()),
    }
}
