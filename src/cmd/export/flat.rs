//! Whole disks for other programs: `export --flat`, and what `image export` has in common with it.

use std::path::Path;

use anyhow::{Context, Result};
use blockdev::Stack;
use blockdev::copy::Source;
use blockdev::export::{self, Existing};
use serde::Serialize;

use super::dir;
use crate::args::{self, Format, NewFile};
use crate::cmd::App;
use crate::console::Signals;
use crate::failure::Failure;
use crate::monitor;
use crate::output::{self, Style, human, progress};

/// What programs are told.
#[derive(Serialize)]
struct Report<'a> {
    file: &'a Path,
    format: &'static str,
    size: u64,
    bytes_on_disk: u64,
}

/// Writes the disk of a VM or a snapshot.
pub fn flat(app: &App, args: args::Export, formats: &[Format]) -> Result<()> {
    let file = NewFile { output: args.output, force: args.force, compress: args.compress };
    let export = || {
        // Before a snapshot is made for it.
        refuse_stdout(&file)?;
        let open = |spec: &_| Ok(Stack::open(spec)?);
        app.store()?.read_still(&args.source, monitor::writer, open, |_, _, stack| {
            write_disk(app, &mut *stack.source()?, &file, formats)
        })
    };
    export().with_context(|| format!("cannot export {}", args.source))
}

/// Writes `source` to a new file and says so.
///
/// # Errors
/// The format is none that is written; the file exists; the disk is full; Ctrl-C. Nothing is left
/// behind then.
pub fn write_disk(
    app: &App,
    source: &mut dyn Source,
    file: &NewFile,
    formats: &[Format],
) -> Result<()> {
    refuse_stdout(file)?;
    let (format, word) = format(formats, file.compress)?;
    refuse_own(app, &file.output)?;
    let existing = if file.force { Existing::Replace } else { Existing::Keep };
    let path = &file.output;
    let (signals, size) = (Signals::catch()?, source.size());
    let bar = progress::bytes(format!("writing {}", path.display()), app.quiet);
    let written =
        export::export(source, path, format, existing, &mut progress::watch(&bar, &signals));
    bar.finish_and_clear();
    written.map_err(explain)?;
    let bytes_on_disk = std::os::unix::fs::MetadataExt::blocks(&path.metadata()?) * 512;
    match app.style {
        Style::Json => {
            output::print_json(&Report { file: path, format: word, size, bytes_on_disk })
        }
        Style::Names => output::print(&format!("{}\n", path.display())),
        Style::Table => output::print(&format!(
            "{}: {word}, a disk of {} in {}\n",
            path.display(),
            human::bytes(size),
            human::bytes(bytes_on_disk)
        )),
    }
}

/// Its holes are what makes it small, and a pipe has none.
fn refuse_stdout(file: &NewFile) -> Result<(), Failure> {
    match file.output.to_str() {
        Some("-") => Err(Failure::usage("a whole disk is not written to standard output")
            .hint("-o FILE; for a pipe, offshoot disk serve --read-only and nbdcopy")),
        _ => Ok(()),
    }
}

/// Whatever is in the store, some machine or image is made of it.
fn refuse_own(app: &App, path: &Path) -> Result<()> {
    let (root, dir) = (app.store()?.paths.root().canonicalize(), dir(path).canonicalize());
    match (root, dir) {
        (Ok(root), Ok(dir)) if dir.starts_with(&root) && path.symlink_metadata().is_ok() => {
            let what = format!("{} is part of the store, and is not replaced", path.display());
            Err(Failure::in_use(what).hint("write to a file elsewhere").into())
        }
        _ => Ok(()),
    }
}

fn format(formats: &[Format], compress: bool) -> Result<(export::Format, &'static str)> {
    let asked = formats.iter().rfind(|format| !matches!(format, Format::Table | Format::Json));
    match (asked, compress) {
        (None | Some(Format::Raw), false) => Ok((export::Format::Raw, "raw")),
        (Some(Format::Qcow2), false) => Ok((export::Format::Qcow2, "qcow2")),
        (Some(Format::Qcow2), true) => Ok((export::Format::PackedQcow2, "qcow2")),
        (None | Some(Format::Raw), true) => {
            let what = "a raw disk cannot be compressed";
            Err(Failure::usage(what).hint("--format qcow2 --compress").into())
        }
        (Some(_), _) => {
            let hint = "--format qcow2, then qemu-img convert -f qcow2 -O vmdk";
            Err(Failure::usage("only raw and qcow2 can be written").hint(hint).into())
        }
    }
}

fn explain(error: blockdev::Error) -> anyhow::Error {
    let exists = error.kind() == blockdev::ErrorKind::Exists;
    let error = anyhow::Error::new(error);
    if exists {
        return error.context(Failure::in_use("there is such a file").hint("--force replaces it"));
    }
    error
}
