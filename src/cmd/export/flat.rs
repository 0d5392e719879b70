//! Whole disks for other programs: `export --flat`, and what `image export` has in common with it.

use anyhow::{Context, Result};
use blockdev::Stack;
use blockdev::copy::Source;
use blockdev::export::{self, Existing};
use serde::Serialize;

use crate::args::{self, Format, NewFile};
use crate::cmd::App;
use crate::console::Signals;
use crate::failure::Failure;
use crate::output::{self, Style, human, progress};
use crate::store::lock::Lock;

/// What programs are told.
#[derive(Serialize)]
struct Report<'a> {
    file: &'a std::path::Path,
    format: &'static str,
    size: u64,
    bytes_on_disk: u64,
}

/// Writes the disk of a VM that does not run; nothing can start it meanwhile.
pub fn flat(app: &App, args: args::Export, formats: &[Format]) -> Result<()> {
    let file = NewFile { output: args.output, force: args.force };
    let export = || {
        let store = app.store()?;
        let vm = store.vm(&args.name)?;
        let lock = Lock::take(&vm.dir)?;
        store.settle_stopped(&vm, &lock)?;
        let stack = Stack::open(&store.stack(&vm)?)?;
        write_disk(app, &mut *stack.source()?, &file, formats)
    };
    export().with_context(|| format!("cannot export {}", args.name))
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
    let (format, word) = format(formats)?;
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

fn format(formats: &[Format]) -> Result<(export::Format, &'static str)> {
    match formats.iter().rfind(|format| !matches!(format, Format::Table | Format::Json)) {
        None | Some(Format::Raw) => Ok((export::Format::Raw, "raw")),
        Some(Format::Qcow2) => Ok((export::Format::Qcow2, "qcow2")),
        Some(_) => {
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
