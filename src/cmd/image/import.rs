//! `image import`: from any format that is read here.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use blockdev::foreign::{self, Layer};

use crate::args::{self, Format};
use crate::cmd::App;
use crate::console::Signals;
use crate::output::{self, Style, progress};
use crate::store::discover::Found;
use crate::store::import::Import;

/// Copies a disk image, and what it stands on, into the store as one raw base.
pub fn import(app: &App, args: args::Import, formats: &[Format]) -> Result<()> {
    let cannot = format!("cannot import {} as {}", args.file.display(), args.name);
    let import = || {
        let signals = Signals::catch()?;
        let top = Layer { path: args.file, format: format(formats) };
        let request = Import {
            layers: std::iter::once(top).chain(args.backing.into_iter().map(backing)).collect(),
            name: args.name,
            kernel: args.boot.kernel,
            initrd: args.boot.initrd,
            cmdline: args.boot.cmdline,
            search: !args.no_boot,
        };
        let bar = progress::bytes(format!("importing {}", request.name), app.quiet);
        let image = app.store()?.import(&request, &mut progress::watch(&bar, &signals));
        bar.finish_and_clear();
        image
    };
    let record = import().context(cannot)?.record;
    if let Some(found) = record.found.as_ref().filter(|_| !app.quiet) {
        output::tell(&format!("offshoot: {}: {}\n", record.name, describe(found)));
    }
    match app.style {
        Style::Json => output::print_json(&record),
        Style::Names | Style::Table => output::print(&format!("{}\n", record.name)),
    }
}

/// What was found, in one line.
fn describe(found: &Found) -> String {
    let Some(kernel) = &found.kernel else {
        let notes = found.notes.join("; ");
        return format!("data only: {notes}; to boot it, give --kernel, --initrd and --cmdline");
    };
    let name = found.system.as_deref().unwrap_or("a Linux system");
    let root = found.root.iter().map(|root| format!(" on {root}"));
    let initrd = found.initrd.iter().map(|initrd| format!(", initrd {initrd}"));
    let options = found.cmdline_from.iter().map(|from| format!(", options from {from}"));
    let others = Some(found.others.join(", ")).filter(|others| !others.is_empty());
    let others = others.iter().map(|others| format!("; not taken: {others}"));
    let notes = found.notes.iter().map(|note| format!("; {note}"));
    let parts = root.chain([format!(": kernel {kernel}")]).chain(initrd).chain(options);
    name.to_owned() + &parts.chain(others).chain(notes).collect::<String>()
}

/// What the file is, when that was said.
fn format(formats: &[Format]) -> Option<foreign::Format> {
    formats.iter().rev().find_map(|format| match format {
        Format::Raw => Some(foreign::Format::Raw),
        Format::Qcow2 => Some(foreign::Format::Qcow2),
        Format::Vmdk => Some(foreign::Format::Vmdk),
        Format::Table | Format::Json => None,
    })
}

/// FILE or FILE:FORMAT. A file whose own name ends like that is given with its format.
fn backing(text: PathBuf) -> Layer {
    let formats = [foreign::Format::Raw, foreign::Format::Qcow2, foreign::Format::Vmdk];
    let bytes = text.as_os_str().as_bytes();
    for format in formats {
        if let Some(path) = bytes.strip_suffix(format!(":{format}").as_bytes()) {
            return Layer { path: OsStr::from_bytes(path).into(), format: Some(format) };
        }
    }
    Layer { path: text, format: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backing_file_may_say_its_format_and_may_have_any_name() {
        let is = |text: &str, path: &str, format| {
            assert_eq!(backing(text.into()), Layer { path: path.into(), format });
        };
        is("a.img", "a.img", None);
        is("a.img:raw", "a.img", Some(foreign::Format::Raw));
        is("a:raw:qcow2", "a:raw", Some(foreign::Format::Qcow2));
        is("nbd:x:vhdx", "nbd:x:vhdx", None);
    }
}
