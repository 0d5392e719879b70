//! Where in a file something is wrong.

use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use crate::failure::Failure;

/// A file that is read, to say where in it something is.
pub struct Source<'a> {
    pub path: &'a Path,
    pub text: &'a str,
}

impl Source<'_> {
    /// What is wrong at a place, as `FILE:LINE:COLUMN: what`.
    pub fn wrong(&self, at: &Range<usize>, what: impl Display) -> Failure {
        let (line, column) = position(self.text, at.start);
        Failure::usage(format!("{}:{line}:{column}: {what}", self.path.display()))
    }

    /// What the TOML parser found wrong.
    pub fn not_toml(&self, error: &toml::de::Error) -> Failure {
        self.wrong(&error.span().unwrap_or_default(), error.message())
    }
}

/// Line and column, in characters from 1, of a byte.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        assert_eq!(position("", 0), (1, 1));
        assert_eq!(position("ab\ncd", 4), (2, 2));
        assert_eq!(position("é = x", 5), (1, 5));
        assert_eq!(position("a\n", 99), (2, 1));
    }
}
