//! Sizes, ages and digests as people like to read them.

use std::time::Duration;

use indicatif::{BinaryBytes, HumanDuration};

/// `1.50 GiB`.
pub fn bytes(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

/// `5 minutes ago`.
pub fn ago(age: Duration) -> String {
    if age < Duration::from_secs(1) { "just now".into() } else { format!("{} ago", span(age)) }
}

/// `5 minutes`.
pub fn span(time: Duration) -> String {
    HumanDuration(time).to_string()
}

/// `1.25 ms`.
pub fn precise(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// The start of a digest: enough to tell it from others.
pub fn digest(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
