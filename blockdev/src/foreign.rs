//! Disk images of other programs, read once, when they are imported: raw, qcow2, vmdk.
//!
//! ```text
//!   --format qcow2   top.qcow2   ─┐
//!   --backing        mid.qcow2   ─┼─► Chain ─► Source ─► base::import_from
//!   --backing        base.raw    ─┘   (each byte from the first image that has it)
//! ```
//!
//! The whole chain is what the caller says: a path inside an image is told to people and never
//! followed. Everything in an image may lie. All its tables are read and checked before the first
//! byte is copied, and one table and one cluster of each image are in memory at a time.
//! docs/foreign-formats.md says what is read and what is refused.

mod chain;
mod detect;
mod error;
#[cfg(any(test, feature = "test-support"))]
pub(crate) mod fuzz;
mod input;
mod qcow2;
mod unpack;
mod vmdk;

use std::fmt;
use std::path::PathBuf;

pub use error::Error;

use crate::Result;
use crate::copy::{Raw, Source};
use chain::{Chain, Image};
use input::Input;

/// How a disk is laid out in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The file's bytes are the disk's.
    Raw,
    /// QEMU's, version 2 or 3.
    Qcow2,
    /// VMware's, sparse and in one file.
    Vmdk,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
            Format::Vmdk => "vmdk",
        })
    }
}

/// One image of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// A regular file or block device.
    pub path: PathBuf,
    /// Its format; told by its first bytes when nobody says it.
    pub format: Option<Format>,
}

/// Opens a chain of images, the top first, as one disk.
///
/// # Errors
/// There is none; one cannot be read, is of a format or has a feature that is not read here, or
/// is damaged; or the chain is shorter or longer than its images say.
pub fn open(layers: &[Layer]) -> Result<Box<dyn Source>> {
    let mut rest = layers.iter();
    let first = rest.next().ok_or(Error::Empty)?;
    let (raw, format) = open_file(first)?;
    if format == Format::Raw && layers.len() == 1 {
        return Ok(Box::new(raw));
    }
    let mut images = vec![image(raw, format)?];
    for layer in rest {
        let (raw, format) = open_file(layer)?;
        let below = images.last().and_then(|image| image.backing());
        chain::check_format(layer, format, below)?;
        images.push(image(raw, format)?);
    }
    Ok(Box::new(Chain::new(layers, images)?))
}

fn open_file(layer: &Layer) -> Result<(Raw, Format)> {
    let raw = Raw::open(&layer.path)?;
    let format = layer.format.map_or_else(|| detect::format(&raw), Ok)?;
    Ok((raw, format))
}

fn image(raw: Raw, format: Format) -> Result<Box<dyn Image>> {
    Ok(match format {
        Format::Raw => Box::new(raw),
        Format::Qcow2 => Box::new(qcow2::Qcow2::open(Input::new(raw, format))?),
        Format::Vmdk => Box::new(vmdk::Vmdk::open(Input::new(raw, format))?),
    })
}
