//! Finds the Linux on a disk image: which partition is its root, its newest kernel, that kernel's
//! initial ramdisk, and the command line it would be given.
//!
//! ```text
//!   disk ─ table ──► volumes ─ signatures ──► trees ──► root, kernels ──► System
//!          GPT, MBR            ext4, FAT: read          names, versions    what to boot,
//!          or none             others: named            boot loaders'      with the right root=
//! ```
//!
//! Whoever made the image may be hostile: every length, count and depth is bounded, no path leads
//! out of its filesystem, and what is damaged is a note, never an end of the search.
//! docs/distro-images.md says what is looked for where.

mod bytes;
mod cmdline;
mod disk;
mod entry;
mod error;
mod files;
#[cfg(any(test, feature = "test-support"))]
pub mod fuzz;
mod kernel;
mod options;
mod search;
mod system;
mod table;
mod version;
mod volume;

pub use disk::{Disk, DiskFile};
pub use error::{Error, Result};
pub use search::{Found, find};
pub use system::{INITRD_LIMIT, KERNEL_LIMIT, Place, System};
