//! The reference of the command line, made of what clap knows: docs/cli.md and the manual pages.

use std::fmt::Write;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};

use super::Cli;

/// How wide the help texts in the reference are.
const WIDTH: usize = 100;

const HEAD: &str = "\
# The command line

What `offshoot --help` and `offshoot VERB --help` say, on one page. It is made by
`offshoot man --markdown` and checked by a test. `offshoot man DIR` writes the same as manual
pages.
";

/// All verbs with their help, as docs/cli.md has it.
pub fn markdown() -> String {
    let mut root = Cli::command().term_width(WIDTH);
    root.build();
    let mut text = HEAD.to_owned();
    section(&mut text, &root, 2);
    text
}

/// One command and those below it.
fn section(text: &mut String, command: &Command, level: usize) {
    let hide_global = |arg: clap::Arg| {
        let hidden = arg.is_global_set() && level > 2;
        arg.hide(hidden)
    };
    let title = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let help = command.clone().mut_args(hide_global).render_long_help();
    let heading = "#".repeat(level);
    // Lines that clap fills up would be noise in every diff.
    let help: String = help.to_string().lines().map(|l| l.trim_end().to_owned() + "\n").collect();
    write!(text, "\n{heading} {title}\n\n```text\n{}\n```\n", help.trim_end())
        .expect("a string takes everything");
    for verb in verbs(command) {
        section(text, verb, (level + 1).min(4));
    }
}

fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    let all = command.get_subcommands();
    all.filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
}

/// Writes the manual pages into a directory: `offshoot.1`, and one for each verb.
///
/// # Errors
/// The filesystem refuses.
pub fn write_man_pages(dir: &Path) -> io::Result<()> {
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_have_the_command_line_as_it_is() {
        let docs = include_str!("../../docs/cli.md");
        assert!(docs == markdown(), "docs/cli.md is old: offshoot man --markdown > docs/cli.md");
    }

    #[test]
    fn every_verb_has_a_manual_page() {
        let dir = tempfile::tempdir().expect("a folder");
        write_man_pages(dir.path()).expect("there is room");
        for verb in verbs(&Cli::command()) {
            let page = dir.path().join(format!("offshoot-{}.1", verb.get_name()));
            let text = std::fs::read_to_string(&page).unwrap_or_default();
            assert!(text.contains(".SH SYNOPSIS"), "{}", page.display());
        }
    }
}
