//! Templates: text with `{name}`, `{n:02}` and the like between braces.

use crate::Guest;

/// Digits of a number at most.
const WIDEST: usize = 63;

/// What stands for what.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub guest: &'a Guest,
    /// Not in a host name's own template.
    pub hostname: Option<&'a str>,
}

/// What is wrong with a template.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    /// Byte offset.
    pub at: usize,
    pub what: String,
}

/// `text` with every pair of braces replaced.
pub(crate) fn expand(text: &str, values: Values<'_>) -> Result<String, Bad> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(found) = rest.find(['{', '}']) {
        let (plain, brace) = rest.split_at(found);
        out.push_str(plain);
        let bad = |what| Bad { at: text.len() - brace.len(), what };
        rest = match brace.get(..2) {
            Some(double @ ("{{" | "}}")) => {
                out.push_str(&double[1..]);
                &brace[2..]
            }
            _ => {
                let (inside, rest) = inside(brace).map_err(bad)?;
                out.push_str(&value(inside, values).map_err(bad)?);
                rest
            }
        };
    }
    out.push_str(rest);
    Ok(out)
}

/// What is between the brace `text` begins with and the next, and what follows.
fn inside(text: &str) -> Result<(&str, &str), String> {
    let Some(text) = text.strip_prefix('{') else {
        return Err("'}' without '{' before it; a brace itself is written twice".into());
    };
    text.split_once('}').ok_or("'{' without '}' after it; a brace itself is written twice".into())
}

fn value(inside: &str, values: Values<'_>) -> Result<String, String> {
    let guest = values.guest;
    match (inside, values.hostname) {
        ("name", _) => Ok(guest.name.clone()),
        ("mac", _) => Ok(guest.mac.to_string()),
        ("uuid", _) => Ok(guest.uuid.to_string()),
        ("hostname", Some(hostname)) => Ok(hostname.to_owned()),
        ("hostname", None) => Err("a host name cannot be made of itself".into()),
        _ => number(inside, guest.number).ok_or_else(|| {
            let shown: String = inside.chars().take(20).collect();
            format!(
                "{{{}}} is unknown: {{n}}, {{n:02}}, {{n+10}}, {{name}}, {{hostname}}, {{mac}} and \
                {{uuid}} are known, and a brace itself is written twice",
                shown.escape_debug()
            )
        }),
    }
}

/// `n`, `n:02`, `n+10`, `n+10:03`.
fn number(inside: &str, n: u32) -> Option<String> {
    let (sum, width) = match inside.split_once(":0") {
        None => (inside, 0),
        Some((sum, width)) => (sum, digits(width)?),
    };
    let more = match sum.strip_prefix('n')? {
        "" => 0,
        more => digits(more.strip_prefix('+')?)?,
    };
    let width = usize::try_from(width).ok().filter(|&width| width <= WIDEST)?;
    Some(format!("{:0width$}", u64::from(n) + u64::from(more)))
}

/// A number without a sign.
fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, Bad> {
        let guest = Guest { name: "web".into(), number: 7, ..Guest::sample() };
        expand(text, Values { guest: &guest, hostname: Some("host") })
    }

    #[test]
    fn each_placeholder_becomes_its_value() {
        let cases = [
            ("", ""),
            ("lab-{n:02}.{name}", "lab-07.web"),
            ("{n}{n+100}{n+3:04}", "71070010"),
            ("{hostname} {mac}", "host 02:00:00:00:00:00"),
            ("{{n}} }}{{", "{n} }{"),
            ("ä{n}ö", "ä7ö"),
            ("{uuid}", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
        ];
        for (template, text) in cases {
            assert_eq!(expanded(template).as_deref(), Ok(text), "{template}");
        }
    }

    #[test]
    fn a_broken_template_is_refused_where_it_breaks() {
        let cases = [
            ("a{", 1),
            ("ä{m}", 2),
            ("{n}{n:2}", 3),
            ("{n:099}", 0),
            ("{n:02}{n:0x}", 6),
            ("{n:0}", 0),
            ("{n+}}", 0),
            ("}", 0),
            ("{}", 0),
            ("{n+99999999999}", 0),
            ("{n++1}", 0),
            ("{{{", 2),
        ];
        for (template, at) in cases {
            let found = expanded(template).map_err(|bad| bad.at);
            assert_eq!(found, Err(at), "{template}");
        }
    }

    #[test]
    fn a_host_name_is_not_made_of_itself() {
        let guest = Guest::sample();
        assert!(expand("{hostname}", Values { guest: &guest, hostname: None }).is_err());
    }
}
