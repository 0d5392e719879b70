//! `attach`: a VM from what `export` wrote.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use blockdev::sealed::Reader;

use super::App;
use super::guarded::Guarded;
use crate::args;
use crate::console::Signals;
use crate::failure::{Code, Failure};
use crate::output::{self, Style, progress};
use crate::store::Vm;
use crate::store::attach::Attach;

/// Takes a sealed file in, from a file or from stdin, and prints the new VM's name.
pub fn attach(app: &App, args: &args::Attach) -> Result<()> {
    let (path, cannot) = match args.file.to_str() {
        Some("-") => (Path::new("standard input"), "cannot attach standard input".to_owned()),
        _ => (args.file.as_path(), format!("cannot attach {}", args.file.display())),
    };
    let signals = Signals::catch()?;
    let result = open(args).and_then(|input| take_in(app, args, input, path, &signals));
    let vm = match result {
        Err(_) if signals.pending() => {
            return Err(Failure::new(Code::Interrupted, "interrupted")).context(cannot);
        }
        result => result.context(cannot)?,
    };
    match app.style {
        Style::Json => output::print_json(&vm.record),
        Style::Names | Style::Table => output::print(&format!("{}\n", vm.record.name)),
    }
}

fn open(args: &args::Attach) -> Result<File> {
    if args.file.to_str() != Some("-") {
        // A FIFO nobody writes to yet is waited for where Ctrl-C ends that: when it is read.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        return Ok(options.open(&args.file)?);
    }
    if io::stdin().is_terminal() {
        return Err(Failure::usage("a sealed file is not typed").hint("a FILE, or a pipe").into());
    }
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

fn take_in(
    app: &App,
    args: &args::Attach,
    input: File,
    path: &Path,
    signals: &Signals,
) -> Result<Vm> {
    // A pipe's length is not known: then all there is has just been read.
    let length = input.metadata()?.len();
    let mut sealed = Reader::open(Guarded::new(input, signals), path)?;
    let request = Attach { name: args.name.clone(), onto: args.onto.clone() };
    let bar = progress::bytes(format!("attaching {}", path.display()), app.quiet);
    let vm = app.store()?.attach(&mut sealed, &request, &mut |done| {
        bar.set_length(length.max(done));
        bar.set_position(done);
    });
    bar.finish_and_clear();
    vm
}
