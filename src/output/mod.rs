//! What commands print on stdout, and how they show progress on stderr.

pub mod human;
pub mod progress;
pub mod table;

use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;

use crate::failure::StdoutClosed;

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

/// Prints `text` on stdout.
///
/// # Errors
/// [`StdoutClosed`] when nobody reads it; otherwise what the system says.
pub fn print(text: &str) -> Result<()> {
    print_bytes(text.as_bytes())
}

/// Prints bytes on stdout as they are.
///
/// # Errors
/// As [`print()`].
pub fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
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
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}
