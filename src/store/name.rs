//! Names people give to images and VMs, and the patterns that make many of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// At most what a host name's label holds.
const LONGEST: usize = 63;

/// A valid name: 1 to 63 ASCII letters, digits, `-`, `_` and `.`, starting with a letter, a digit
/// or `_`. So a name is never an option, a path or a hidden file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Name, Failure> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let reason = if text.is_empty() {
            "it is empty".to_owned()
        } else if let Some(bad) = text.chars().find(|&c| !allowed(c)) {
            format!("{bad:?} is not a letter, digit, '-', '_' or '.'")
        } else if text.starts_with(['-', '.']) {
            "it starts with '-' or '.'".to_owned()
        } else if text.len() > LONGEST {
            format!("it has {} characters, {LONGEST} are the most", text.len())
        } else {
            return Ok(Name(text.to_owned()));
        };
        Err(Failure::usage(format!("{text:?} cannot be a name: {reason}")))
    }
}

impl TryFrom<String> for Name {
    type Error = Failure;

    fn try_from(text: String) -> Result<Name, Failure> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The names asked for: one (`web`), numbered (`web` with a count: `web-1`, `web-2`, ...), or
/// made from a template that holds `{n}` or `{n:02}` (`lab-{n:02}`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    before: String,
    number: Option<Number>,
    after: String,
}

/// Where a template's number goes: padded with zeroes to this width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    width: usize,
}

impl Pattern {
    /// The names this makes: one, or `count` numbered from 1.
    ///
    /// # Errors
    /// One of them is no valid name.
    pub fn expand(&self, count: Option<u32>) -> Result<Vec<Name>, Failure> {
        let last = match (count, self.number) {
            (None, None) => return Ok(vec![self.before.parse()?]),
            (None, Some(_)) => 1,
            (Some(count), _) => count,
        };
        (1..=last).map(|n| self.numbered(n).parse()).collect()
    }

    fn numbered(&self, n: u32) -> String {
        match self.number {
            Some(Number { width }) => format!("{}{n:0width$}{}", self.before, self.after),
            None => format!("{}-{n}", self.before),
        }
    }
}

impl FromStr for Pattern {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Pattern, Failure> {
        let Some((before, rest)) = text.split_once('{') else {
            let name: Name = text.parse()?;
            return Ok(Pattern { before: name.0, number: None, after: String::new() });
        };
        let bad = || {
            Failure::usage(format!(
                "{text:?} cannot be a template: it must hold one {{n}} or {{n:02}}"
            ))
        };
        let (inside, after) = rest.split_once('}').ok_or_else(bad)?;
        let width = match inside.strip_prefix('n').ok_or_else(bad)? {
            "" => 0,
            width => width.strip_prefix(":0").and_then(|w| w.parse().ok()).ok_or_else(bad)?,
        };
        if width > LONGEST {
            return Err(bad());
        }
        let number = Some(Number { width });
        let pattern = Pattern { before: before.to_owned(), number, after: after.to_owned() };
        pattern.numbered(1).parse::<Name>()?;
        Ok(pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(pattern: &str, count: Option<u32>) -> Vec<String> {
        let pattern: Pattern = pattern.parse().expect("a pattern");
        pattern.expand(count).expect("names").into_iter().map(String::from).collect()
    }

    #[test]
    fn a_count_numbers_names_and_a_template_says_where() {
        assert_eq!(expand("web", None), ["web"]);
        assert_eq!(expand("web", Some(2)), ["web-1", "web-2"]);
        assert_eq!(expand("lab-{n:02}", Some(2)), ["lab-01", "lab-02"]);
        assert_eq!(expand("{n}.lab", None), ["1.lab"]);
    }

    #[test]
    fn names_that_would_be_options_paths_or_hidden_are_refused() {
        let long = "x".repeat(64);
        for bad in ["", "-x", ".x", "a/b", "a b", "ä", "a\n", long.as_str()] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        for good in ["a", "_a", "9.x-y_z", &long[1..]] {
            assert!(good.parse::<Name>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn broken_templates_are_refused() {
        for bad in ["a{", "a{m}", "a{n:2}", "a{n:0x}", "{n:099}", "a{n}{n}", "-{n}"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?}");
        }
    }
}
