//! What commands print on stdout, and how they show progress on stderr.

pub mod human;
pub mod paint;
pub mod progress;
pub mod table;

use std::io::{self, Write};

use anstream::ColorChoice;
use anyhow::Result;
use serde::Serialize;

use crate::args::Color;
use crate::failure::StdoutClosed;
use crate::terminal;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For people.
    Table,
    /// Only names, one in a line.
    Names,
    /// For programs.
    Json,
}

/// Says, for all that is printed from now on, when there are colours.
pub fn choose_colors(color: Color) {
    match color {
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    }
    .write_global();
}

/// Prints `text` on stdout, with its colours where they are wanted.
///
/// # Errors
/// [`StdoutClosed`] when nobody reads it; otherwise what the system says.
pub fn print(text: &str) -> Result<()> {
    write(anstream::stdout().lock(), text.as_bytes())
}

/// Says something beside the results, on stderr. That nobody listens any more is no failure, and
/// neither is that there is no room where it goes to.
pub fn tell(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// A text whose control characters, but for ends of lines and tabs, can be seen and do nothing.
pub fn harmless(text: &str) -> String {
    let shown = |c: char| match terminal::is_control(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// Prints bytes on stdout as they are.
///
/// # Errors
/// As [`print()`].
pub fn print_bytes(bytes: &[u8]) -> Result<()> {
    write(io::stdout().lock(), bytes)
}

fn write(mut out: impl Write, bytes: &[u8]) -> Result<()> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(StdoutClosed.into()),
        result => Ok(result?),
    }
}

/// Prints a value as JSON, indented.
///
/// # Errors
/// As [`print()`].
pub fn print_json<T: Serialize + ?Sized>(value: &T) -> Result<()> {
    print_bytes((serde_json::to_string_pretty(value)? + "\n").as_bytes())
}
