//! The command line that a distribution's own boot loader would give a kernel, from its files.
//!
//! | file | what |
//! |---|---|
//! | `loader/entries/*.conf` | Boot Loader Specification: Fedora, systemd-boot |
//! | `grub/grub.cfg`, `grub2/grub.cfg` | the `linux` line with this kernel |
//! | `extlinux.conf` | the `APPEND` line after this kernel: Alpine |
//! | `/etc/kernel/cmdline` | kernel-install's |
//! | `/etc/default/grub`, `/etc/default/grub.d/*.cfg` | what `grub.cfg` would be made from |

use crate::entry::{self, value};
use crate::error::Result;
use crate::files::Tree;
use crate::kernel::Kernel;

/// The most files of a folder that are read.
const ENTRIES: usize = 100;

/// A command line, as it was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The words.
    pub text: String,
    /// The file.
    pub from: String,
}

/// What the files on the kernel's own filesystem say; `/boot` is in `folder` there.
pub(crate) fn of_loader(tree: &Tree, folder: &str, kernel: &Kernel) -> Result<Option<Options>> {
    let mut entries = entry::read(tree, folder)?.into_iter();
    if let Some(entry) = entries.find(|entry| names(&entry.kernel, kernel)) {
        return Ok(Some(Options { text: entry.options, from: entry.file }));
    }
    type Parser = fn(&str, &Kernel) -> Option<String>;
    let files: [(&str, Parser); 4] = [
        ("grub/grub.cfg", menu),
        ("grub2/grub.cfg", menu),
        ("extlinux.conf", extlinux),
        ("extlinux/extlinux.conf", extlinux),
    ];
    for (file, parse) in files {
        let options = from(tree, &format!("{folder}/{file}"), |text| parse(text, kernel))?;
        if options.is_some() {
            return Ok(options);
        }
    }
    Ok(None)
}

/// What the settings in `/etc` say.
pub(crate) fn of_settings(tree: &Tree) -> Result<Option<Options>> {
    let own = from(tree, "/etc/kernel/cmdline", |text| Some(text.lines().next()?.to_owned()))?;
    if own.is_some() {
        return Ok(own);
    }
    let mut path = "/etc/default/grub".to_owned();
    let mut settings = tree.text(&path)?.unwrap_or_default();
    let folder = "/etc/default/grub.d";
    for name in tree.names(folder)?.iter().filter(|name| name.ends_with(".cfg")).take(ENTRIES) {
        path = format!("{folder}/{name}");
        settings += &format!("\n{}", tree.text(&path)?.unwrap_or_default());
    }
    Ok(grub(&settings).map(|text| Options { text, from: path }))
}

fn from(
    tree: &Tree,
    path: &str,
    parse: impl FnOnce(&str) -> Option<String>,
) -> Result<Option<Options>> {
    let text = tree.text(path)?.and_then(|text| parse(&text));
    Ok(text.map(|text| Options { text, from: path.to_owned() }))
}

/// Whether this path of a boot loader's is that kernel's.
fn names(path: &str, kernel: &Kernel) -> bool {
    let name = path.rsplit('/').next();
    // systemd-boot's are all called so.
    path == kernel.path || (name == Some(kernel.name()) && name != Some("linux"))
}

/// GRUB's `linux PATH OPTION...` lines.
fn menu(text: &str, kernel: &Kernel) -> Option<String> {
    let commands = ["linux", "linux16", "linuxefi"];
    let mut lines = text.lines().filter_map(|line| commands.iter().find_map(|c| value(line, c)));
    lines.find_map(|line| {
        let (path, options) = line.split_once(char::is_whitespace)?;
        names(path, kernel).then(|| options.trim().to_owned())
    })
}

/// `LINUX PATH` or `KERNEL PATH`, then `APPEND OPTION...`.
fn extlinux(text: &str, kernel: &Kernel) -> Option<String> {
    let mut ours = false;
    for line in text.lines() {
        let path = ["LINUX", "linux", "KERNEL", "kernel"].iter().find_map(|key| value(line, key));
        ours = path.map_or(ours, |path| names(path, kernel));
        let options = ["APPEND", "append"].iter().find_map(|key| value(line, key));
        if let Some(options) = options.filter(|_| ours) {
            return Some(options.to_owned());
        }
    }
    None
}

/// `GRUB_CMDLINE_LINUX="..."` and `GRUB_CMDLINE_LINUX_DEFAULT="..."`; the last of each counts, and
/// may hold its earlier value as `$GRUB_CMDLINE_LINUX`.
fn grub(text: &str) -> Option<String> {
    let (always, normally) = ("GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT");
    let found = [shell_value(text, always), shell_value(text, normally)];
    if found == [None, None] {
        return None;
    }
    let words: Vec<_> = found.into_iter().flatten().filter(|text| !text.is_empty()).collect();
    Some(words.join(" "))
}

fn shell_value(text: &str, key: &str) -> Option<String> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
    lines.fold(None, |before: Option<String>, line| {
        let before = before.unwrap_or_default();
        let now = unquote(line).replace(&format!("${{{key}}}"), &before);
        // A value that holds itself many times over would grow without end.
        let now: String = now.replace(&format!("${key}"), &before).chars().take(4096).collect();
        Some(now.trim().to_owned())
    })
}

/// A shell's word in quotes, or up to a space.
fn unquote(text: &str) -> &str {
    let mut chars = text.chars();
    match chars.next() {
        Some(quote @ ('"' | '\'')) => chars.as_str().split(quote).next().unwrap_or_default(),
        _ => text.split_whitespace().next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
