//! Sealed files: what differs from a base, packed to travel. docs/sealed-format.md has every byte.
//!
//! ```text
//!   export   Source ── blocks ──► Packer ── chunks ──► Writer ──► io::Write
//!   attach   io::Read ──► Reader ── chunks, checked ──► Disk
//! ```
//!
//! Both go front to back, so either end may be a pipe. `format` and `chunk` are pure; what a
//! hostile file can make a reader do is bounded there.

mod apply;
mod chunk;
mod error;
mod format;
#[cfg(any(test, feature = "test-support"))]
pub(crate) mod fuzz;
mod pack;
mod read;
mod source;
mod write;

use std::io::Write;
use std::path::Path;

pub use apply::apply;
pub use chunk::{Extent, ExtentKind};
pub use error::{Error, Result};
pub use format::{BaseRef, Header, SETTINGS_MAX};
pub use read::{Chunk, Reader};
pub use source::{Owned, Source};
pub use write::Summary;

use pack::Packer;
use write::Writer;

/// Writes all that `source` owns, and `settings`, as a sealed file to `out`, which errors call
/// `path`. `progress` is told bytes of the disk done and in all.
///
/// # Errors
/// The source cannot be read or `out` cannot be written; `settings` are longer than
/// [`SETTINGS_MAX`]. What has been written by then is of no use.
pub fn seal(
    source: &dyn Source,
    settings: &[u8],
    out: &mut dyn Write,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Summary> {
    let mut writer = Writer::new(out, path, &source.header(), settings)?;
    Packer::new(source, progress).pack(&mut writer)?;
    writer.finish()
}

#[cfg(test)]
mod tests;
