//! The kernel command line: words, of which this guest knows two.

use alloc::string::String;
use alloc::vec::Vec;

use crate::orders::number;

/// A virtio-mmio device: its registers, and its interrupt line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where its registers are.
    pub base: u64,
    /// Its interrupt: a global system interrupt.
    pub gsi: u32,
}

/// What `key=` is followed by, each time it is there.
pub fn values<'a>(cmdline: &'a str, key: &str) -> impl Iterator<Item = &'a str> {
    cmdline
        .split_ascii_whitespace()
        .filter_map(move |word| word.strip_prefix(key)?.strip_prefix('='))
}

/// The orders: all of `offshoot.do=`, in order.
#[must_use]
pub fn orders(cmdline: &str) -> String {
    values(cmdline, "offshoot.do").collect::<Vec<_>>().join(",")
}

/// The devices of `virtio_mmio.device=SIZE@BASE:GSI[:ID]`, as Linux reads it; malformed ones are
/// left out.
pub fn windows(cmdline: &str) -> impl Iterator<Item = Window> {
    values(cmdline, "virtio_mmio.device").filter_map(|device| {
        let (_, place) = device.split_once('@')?;
        let mut parts = place.split(':');
        let base = number(parts.next()?).ok()?;
        let gsi = parts.next()?.parse().ok()?;
        Some(Window { base, gsi })
    })
}
