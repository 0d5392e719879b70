//! `export`: what a VM changed, as a file that travels; with `--flat` its whole disk.

mod flat;

use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};
use blockdev::sealed::Summary;
use serde::Serialize;
use tempfile::{Builder, NamedTempFile};

use super::App;
use super::guarded::Guarded;
use crate::args;
use crate::console::Signals;
use crate::failure::{Code, Failure};
use crate::monitor;
use crate::output::{self, Style, human, progress};
use crate::store::Store;
use crate::store::paths::sync_dir;
pub use flat::{flat, write_disk};

/// Bytes of a block.
const BLOCK: u64 = 4096;

/// Exports a VM to a file, or to stdout.
pub fn export(app: &App, args: &args::Export) -> Result<()> {
    let cannot = || format!("cannot export {}", args.source);
    let signals = Signals::catch()?;
    let export = || {
        let mut store = app.store()?;
        // Before anything is wrong with where it is to go.
        store.refuse_unknown(&args.source)?;
        match args.output.to_str() {
            Some("-") => to_stdout(app, &mut store, args, &signals),
            _ => to_file(app, &mut store, args, &signals),
        }
    };
    match export() {
        Err(_) if signals.pending() => {
            Err(Failure::new(Code::Interrupted, "interrupted")).with_context(cannot)
        }
        result => result.with_context(cannot),
    }
}

fn to_stdout(app: &App, store: &mut Store, args: &args::Export, signals: &Signals) -> Result<()> {
    if io::stdout().is_terminal() {
        let what = "a sealed file is nothing for a terminal";
        return Err(Failure::usage(what).hint("-o FILE, or a pipe").into());
    }
    let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let out = &mut Guarded::new(out, signals);
    seal(app, store, args, out, Path::new("standard output")).map(drop)
}

fn to_file(app: &App, store: &mut Store, args: &args::Export, signals: &Signals) -> Result<()> {
    let path = args.output.as_path();
    if fs::symlink_metadata(path).is_ok() {
        return Err(exists(path));
    }
    let draft = draft(path)?;
    let out = draft.as_file().try_clone()?;
    let summary = seal(app, store, args, &mut Guarded::new(out, signals), path)?;
    publish(draft, path)?;
    print(app, path, &summary)
}

fn seal(
    app: &App,
    store: &mut Store,
    args: &args::Export,
    out: &mut Guarded<'_>,
    path: &Path,
) -> Result<Summary> {
    let bar = progress::bytes(format!("exporting {}", args.source), app.quiet);
    let progress = &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let result = store.export(&args.source, monitor::writer, out, path, progress);
    bar.finish_and_clear();
    result
}

/// A file beside `path` that is gone again unless it is [`publish`]ed.
fn draft(path: &Path) -> Result<NamedTempFile> {
    let dir = dir(path);
    let draft = Builder::new().prefix(".offshoot-export-").tempfile_in(dir);
    draft.with_context(|| format!("cannot create a file in {}", dir.display()))
}

/// Moves a whole file to its place, where nothing is replaced.
fn publish(draft: NamedTempFile, path: &Path) -> Result<()> {
    draft.as_file().sync_all().with_context(|| format!("cannot sync {}", path.display()))?;
    match draft.persist_noclobber(path) {
        Ok(_) => sync_dir(dir(path)),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(error.error).with_context(|| format!("cannot create {}", path.display())),
    }
}

fn dir(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

fn exists(path: &Path) -> anyhow::Error {
    let what = format!("{} exists", path.display());
    Failure::in_use(what).hint("another name; nothing is overwritten").into()
}

/// What programs are told.
#[derive(Serialize)]
struct Report<'a> {
    file: &'a Path,
    content: &'a str,
    data_bytes: u64,
    zero_bytes: u64,
    bytes: u64,
}

fn print(app: &App, file: &Path, summary: &Summary) -> Result<()> {
    let Summary { content, data_blocks, zero_blocks, bytes } = summary;
    let (data_bytes, zero_bytes) = (data_blocks * BLOCK, zero_blocks * BLOCK);
    match app.style {
        Style::Json => {
            output::print_json(&Report { file, content, data_bytes, zero_bytes, bytes: *bytes })
        }
        Style::Names => output::print(&format!("{}\n", file.display())),
        Style::Table => output::print(&format!(
            "{}: {}, from {} of data; content {}\n",
            file.display(),
            human::bytes(*bytes),
            human::bytes(data_bytes),
            human::digest(content)
        )),
    }
}
