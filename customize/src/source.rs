//! The text of a spec, to say where something stands in it.

use std::ops::Range;

use toml::Spanned;

use crate::Error;
use crate::template::{self, Values};

type Result<T, E = Error> = std::result::Result<T, E>;

/// A string with its place.
pub(crate) type Text = Spanned<String>;

/// The whole spec.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a>(pub &'a str);

impl Source<'_> {
    /// An error about the byte at `offset`.
    pub fn error(self, offset: usize, what: impl Into<String>) -> Error {
        let before = self.0.get(..offset).unwrap_or(self.0);
        let line = before.rsplit_once('\n').map_or(before, |(_, line)| line);
        Error::At {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            what: what.into(),
        }
    }

    /// An error of the TOML parser.
    pub fn toml(self, error: &toml::de::Error) -> Error {
        let at = error.span().map_or(0, |span| span.start);
        self.error(at, error.message().replace('\n', ", "))
    }

    /// A template's text.
    pub fn expand(self, template: &Text, values: Values<'_>) -> Result<String> {
        template::expand(template.get_ref(), values).map_err(|bad| {
            self.error(self.inside(template.span(), template.get_ref(), bad.at), bad.what)
        })
    }

    /// Refuses a string that `check` does.
    pub fn check(self, text: &Text, check: fn(&str) -> Result<(), String>) -> Result<()> {
        let shown: String = text.get_ref().chars().take(40).collect();
        self.check_as(&format!("{shown:?}"), text, check)
    }

    /// As [`check`](Source::check), with other words for the string.
    pub fn check_as(
        self,
        shown: &str,
        text: &Text,
        check: fn(&str) -> Result<(), String>,
    ) -> Result<()> {
        let why = |why| self.error(text.span().start, format!("{shown} {why}"));
        check(text.get_ref()).map_err(why)
    }

    /// Where byte `offset` of a string stands. With escapes in it, where the string begins.
    fn inside(self, span: Range<usize>, value: &str, offset: usize) -> usize {
        let raw = self.0.get(span.clone()).unwrap_or_default();
        raw.find(value).map_or(span.start, |quote| span.start + quote + offset)
    }
}
