//! What flags take: sizes, times, labels.

use std::time::Duration;

pub(super) fn size(text: &str) -> Result<u64, String> {
    let parser = parse_size::Config::new().with_binary();
    parser.parse_size(text).map_err(|error| error.to_string())
}

/// Guest memory in MiB.
pub(super) fn memory(text: &str) -> Result<u64, String> {
    const MIB: u64 = 1 << 20;
    match size(text)? {
        bytes if bytes < MIB => Err(format!("{bytes} bytes are not enough; as 512M or 2G")),
        bytes if bytes % MIB != 0 => Err("it must be whole MiB, as 512M or 2G".into()),
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

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it must be KEY=VALUE".into()),
    }
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
    }
}
