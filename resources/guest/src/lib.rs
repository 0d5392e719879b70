//! The tiny guest, as bytes to embed.

/// The guest kernel: a static ELF that boots by the 64-bit Linux protocol and by PVH.
pub const KERNEL: &[u8] = &[];
