//! What flags take, and files of the same meaning: sizes, times, labels.

use std::time::Duration;

use super::LabelChange;
use crate::store::Timestamp;
use crate::store::sound::MEMORY_MIB;
use crate::terminal;

/// Of the largest number of bytes.
const DIGITS: usize = 20;

/// A size in bytes, as `20G`.
pub fn size(text: &str) -> Result<u64, String> {
    // The parser rounds what is beyond 64 bits, and overflows at the last number before.
    if text.bytes().filter(u8::is_ascii_digit).count() > DIGITS {
        return Err(format!("{DIGITS} digits are the most"));
    }
    let parser = parse_size::Config::new().with_binary();
    parser.parse_size(text).map_err(|error| error.to_string())
}

/// Guest memory in MiB, as `512M`.
pub fn memory(text: &str) -> Result<u64, String> {
    const MIB: u64 = 1 << 20;
    match size(text)? {
        bytes if bytes < MIB => Err(format!("{bytes} bytes are not enough; as 512M or 2G")),
        bytes if bytes % MIB != 0 => Err("it must be whole MiB, as 512M or 2G".into()),
        bytes if bytes / MIB > MEMORY_MIB => Err("16T are the most".into()),
        bytes => Ok(bytes / MIB),
    }
}

/// Seconds, or a number with its unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).map_err(|error| error.to_string()),
    }
}

/// What people write, which is printed on terminals: nothing that does things to them.
pub fn note(text: &str) -> Result<String, String> {
    match text.contains(terminal::is_control) {
        true => Err("there are control characters in it".into()),
        false => Ok(text.to_owned()),
    }
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match note(text)?.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it must be KEY=VALUE".into()),
    }
}

pub(super) fn label_change(text: &str) -> Result<LabelChange, String> {
    if let Ok((key, value)) = label(text) {
        return Ok(LabelChange::Set(key, value));
    }
    match note(text)?.strip_suffix('-') {
        Some(key) if !key.is_empty() && !key.contains('=') => {
            Ok(LabelChange::Remove(key.to_owned()))
        }
        _ => Err("it must be KEY=VALUE or KEY-".into()),
    }
}

pub(super) fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(age) = humantime::parse_duration(text) {
        return Timestamp::ago(age).ok_or_else(|| "that is before any time".into());
    }
    let time = Timestamp::try_from(text.to_owned());
    time.map_err(|_| "it is neither an age, as 10m, nor a time, as 2026-11-21T09:00:00Z".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_memory_is_whole_mib() {
        assert_eq!(size("20G"), Ok(20 << 30));
        assert_eq!(memory("2G"), Ok(2048));
        assert!(memory("512").is_err());
        assert!(memory("1500K").is_err());
        assert_eq!(memory("16T"), Ok(MEMORY_MIB));
        assert!(memory("17T").is_err());
    }

    #[test]
    fn no_number_is_too_long_to_be_refused() {
        assert_eq!(size("18446744073709551615"), Ok(u64::MAX));
        for bad in ["18446744073709551616", "184467440737095516159", "1844674407370955161.59"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_label_is_set_with_a_value_and_removed_with_a_dash() {
        let set = |key: &str, value: &str| Ok(LabelChange::Set(key.into(), value.into()));
        assert_eq!(label_change("a=b"), set("a", "b"));
        assert_eq!(label_change("a-="), set("a-", ""));
        assert_eq!(label_change("a=b-"), set("a", "b-"));
        assert_eq!(label_change("a-"), Ok(LabelChange::Remove("a".into())));
        for bad in ["", "-", "=", "=b-", "a", "a\u{1b}=b", "a\u{7}-"] {
            assert!(label_change(bad).is_err(), "{bad:?}");
        }
    }
}
