//! The kernel command line: words, of which this guest knows two.

use alloc::string::String;
use alloc::vec::Vec;

use crate::grammar::number;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_one_list() {
        assert_eq!(orders("quiet offshoot.do=hello  offshoot.do=exit:0 x"), "hello,exit:0");
        assert_eq!(orders("offshoot.done=hello offshoot.do"), "");
    }

    #[test]
    fn devices_are_found_and_broken_ones_left_out() {
        let found: Vec<_> = windows(
            "virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=512@0xfeb00e00:12:3 \
             virtio_mmio.device=4K@0xd0001000 virtio_mmio.device=oops",
        )
        .collect();
        let window = |base, gsi| Window { base, gsi };
        assert_eq!(found, [window(0xd000_0000, 5), window(0xfeb0_0e00, 12)]);
    }
}
