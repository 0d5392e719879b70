//! What can be booted.

use std::fmt::{self, Display};
use std::io::Write;

use crate::error::Result;
use crate::files::Tree;

/// The largest kernel that is copied, bytes.
pub const KERNEL_LIMIT: u64 = 256 << 20;
/// The largest initial ramdisk that is copied, bytes.
pub const INITRD_LIMIT: u64 = 1 << 30;

/// A file on an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its path, from the root of its filesystem.
    pub path: String,
    /// Its partition, for people.
    pub volume: String,
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.path, self.volume)
    }
}

/// A Linux system: everything a start needs.
pub struct System {
    /// What it calls itself, as `Debian GNU/Linux 12 (bookworm)`.
    pub name: String,
    /// Its root filesystem, for people; `None` where that cannot be read here.
    pub root: Option<String>,
    /// Its newest kernel.
    pub kernel: Place,
    /// The initial ramdisk made for that kernel.
    pub initrd: Option<Place>,
    /// What the kernel is to be told.
    pub cmdline: String,
    /// The file that the command line's words are from; `None` where there is none.
    pub cmdline_from: Option<String>,
    /// Paths of the other kernels, newest first.
    pub others: Vec<String>,
    pub(crate) tree: Tree,
}

impl System {
    /// Copies the kernel, as it lies on the image.
    ///
    /// # Errors
    /// It cannot be read or written, or has more than [`KERNEL_LIMIT`] bytes.
    pub fn copy_kernel(&self, to: &mut dyn Write) -> Result<()> {
        self.tree.copy(&self.kernel.path, KERNEL_LIMIT, to)
    }

    /// Copies the initial ramdisk; without one, nothing.
    ///
    /// # Errors
    /// It cannot be read or written, or has more than [`INITRD_LIMIT`] bytes.
    pub fn copy_initrd(&self, to: &mut dyn Write) -> Result<()> {
        match &self.initrd {
            Some(initrd) => self.tree.copy(&initrd.path, INITRD_LIMIT, to),
            None => Ok(()),
        }
    }
}
