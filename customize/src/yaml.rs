//! YAML as JSON, which no text can break out of.
//!
//! JSON lets some characters stand in strings that YAML 1.1, as PyYAML reads it, refuses or takes
//! for line breaks. They are escaped.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// `value` in one line.
pub(crate) fn text<T: Serialize>(value: &T) -> String {
    let mut bytes = Vec::new();
    let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, Careful));
    written.expect("plain structs make JSON, and memory takes it");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("JSON of strings is text")
}

struct Careful;

impl Formatter for Careful {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut rest = fragment;
        while let Some((at, bad)) = rest.char_indices().find(|&(_, c)| is_bad(c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", u32::from(bad))?;
            rest = &rest[at + bad.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// What YAML 1.1 does not take as it is in double quotes. All are of the first plane, so four
/// digits hold each.
fn is_bad(c: char) -> bool {
    matches!(
        c,
        '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yaml_would_take_for_a_line_break_or_refuse_is_escaped() {
        let text = text(&["a\n\"\\\u{7f}\u{85}\u{2028}ä\u{1f600}"]);
        assert_eq!(text, "[\"a\\n\\\"\\\\\\u007f\\u0085\\u2028ä\u{1f600}\"]\n");
    }
}
