//! The tiny guest, as bytes to embed, and what its disks hold.
//!
//! The kernel's own source is in kernel/, and what it can be asked in README.md; build.rs
//! compiles it. src/shared/ is compiled into both.

#[path = "shared/pattern.rs"]
pub mod pattern;

// The kernel's own parts that are plain logic, here to be tested.
#[cfg(test)]
extern crate alloc;
#[cfg(test)]
#[path = "shared/aml.rs"]
mod aml;
#[cfg(test)]
#[path = "shared/area.rs"]
mod area;
#[cfg(test)]
#[path = "shared/cmdline.rs"]
mod cmdline;
#[cfg(test)]
#[path = "shared/grammar.rs"]
mod grammar;
#[cfg(test)]
#[path = "shared/histogram.rs"]
mod histogram;
#[cfg(test)]
#[path = "shared/orders.rs"]
mod orders;

use std::io::{self, Write};

pub use pattern::{BASE_SEED, BLOCK, SECTOR};

/// The guest kernel: a static ELF that boots by the 64-bit Linux protocol and by PVH.
pub const KERNEL: &[u8] = include_bytes!(env!("GUEST_KERNEL"));

/// Fills `bytes` with what block number `block`, of 4096 bytes, holds when written with `seed`;
/// fewer bytes are the block's first ones.
pub fn fill_block(seed: u64, block: u64, bytes: &mut [u8]) {
    pattern::fill(seed, block * (BLOCK / SECTOR) as u64, bytes);
}

/// Writes a base image of `bytes` bytes, which the guest's `verify-base` accepts.
///
/// # Errors
/// `image` cannot be written.
pub fn write_base(image: &mut impl Write, bytes: u64) -> io::Result<()> {
    const CHUNK: usize = 64 * BLOCK;
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < bytes {
        let length = usize::try_from(bytes - at).map_or(CHUNK, |left| left.min(CHUNK));
        pattern::fill(BASE_SEED, at / SECTOR as u64, &mut chunk[..length]);
        image.write_all(&chunk[..length])?;
        at += length as u64;
    }
    Ok(())
}
