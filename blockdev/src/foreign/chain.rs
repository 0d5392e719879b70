//! Images standing on each other, as one disk.

use std::fmt;

use super::{Error, Format, Layer};
use crate::copy::{Raw, Source};
use crate::{Extent, Result};

/// What an image knows of a stretch of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It has the bytes.
    Data,
    /// It has them, in fewer.
    Packed,
    /// They are zeroes, whatever is below.
    Zero,
    /// It has none: they are what is below, or zeroes where nothing is.
    Below,
}

/// What an image says of the one below it; nothing here is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backing {
    /// What it calls it.
    pub(super) name: String,
    /// The format it says it has.
    pub(super) format: Option<String>,
}

/// One image, without what it stands on. Whoever opens one has checked all its tables.
pub(super) trait Image: fmt::Debug {
    /// The disk's length in bytes.
    fn size(&self) -> u64;

    /// What it stands on, if anything.
    fn backing(&self) -> Option<&Backing>;

    /// What the image knows of the byte at `at`, before its end, and for how many bytes from there
    /// on, at least one, that holds.
    fn lookup(&mut self, at: u64) -> Result<(Place, u64)>;

    /// Fills `buf` with bytes that [`lookup`](Image::lookup) says it has.
    fn read(&mut self, buf: &mut [u8], at: u64) -> Result<()>;
}

impl Image for Raw {
    fn size(&self) -> u64 {
        Source::size(self)
    }

    fn backing(&self) -> Option<&Backing> {
        None
    }

    fn lookup(&mut self, at: u64) -> Result<(Place, u64)> {
        Ok(match self.extent(at)? {
            (Extent::Data, len) => (Place::Data, len),
            (Extent::Zero, len) => (Place::Zero, len),
        })
    }

    fn read(&mut self, buf: &mut [u8], at: u64) -> Result<()> {
        Source::read(self, buf, at)
    }
}

/// Images, the top first. The disk is as long as the top; where a lower one ends, zeroes begin.
#[derive(Debug)]
pub(super) struct Chain {
    images: Vec<Box<dyn Image>>,
    /// Bytes of the disk that are packed.
    packed: u64,
}

impl Chain {
    /// Checks that each image was given what it stands on, and no more.
    pub(super) fn new(layers: &[Layer], images: Vec<Box<dyn Image>>) -> Result<Chain> {
        for (index, (layer, image)) in layers.iter().zip(&images).enumerate() {
            let path = layer.path.clone();
            match (image.backing(), layers.get(index + 1)) {
                (Some(backing), None) => {
                    return Err(Error::NoBacking { path, name: backing.name.clone() }.into());
                }
                (None, Some(below)) => {
                    return Err(Error::Unneeded { path, backing: below.path.clone() }.into());
                }
                _ => {}
            }
        }
        let mut chain = Chain { images, packed: 0 };
        chain.packed = chain.count_packed()?;
        Ok(chain)
    }

    fn count_packed(&mut self) -> Result<u64> {
        let (mut at, mut packed) = (0, 0);
        while at < self.size() {
            let (owner, len) = self.find(at)?;
            if matches!(owner, Some((_, Place::Packed))) {
                packed += len;
            }
            at = at.saturating_add(len);
        }
        Ok(packed)
    }

    /// Which image has the byte at `at`, if any, and how; and how far that holds.
    fn find(&mut self, at: u64) -> Result<(Option<(usize, Place)>, u64)> {
        let mut len = u64::MAX;
        for (index, image) in self.images.iter_mut().enumerate() {
            let left = image.size().saturating_sub(at);
            if left == 0 {
                break;
            }
            let (place, run) = image.lookup(at)?;
            len = len.min(run).min(left);
            match place {
                Place::Data | Place::Packed => return Ok((Some((index, place)), len)),
                Place::Zero => break,
                Place::Below => {}
            }
        }
        Ok((None, len.max(1)))
    }
}

impl Source for Chain {
    fn size(&self) -> u64 {
        self.images.first().map_or(0, |top| top.size())
    }

    fn unpacked(&self) -> u64 {
        self.packed
    }

    fn extent(&mut self, at: u64) -> Result<(Extent, u64)> {
        let (owner, len) = self.find(at)?;
        Ok((if owner.is_some() { Extent::Data } else { Extent::Zero }, len))
    }

    fn read(&mut self, buf: &mut [u8], at: u64) -> Result<()> {
        in_parts(buf, at, |rest, at| {
            let (owner, len) = self.find(at)?;
            let part = start(rest, len);
            match owner.and_then(|(index, _)| self.images.get_mut(index)) {
                Some(image) => image.read(part, at)?,
                None => part.fill(0),
            }
            Ok(part.len())
        })
    }
}

/// Fills a buffer with what begins at `at`, part by part: `fill` is given what is left of it and
/// where that begins, fills some of its start, and says how much.
pub(super) fn in_parts(
    buf: &mut [u8],
    at: u64,
    mut fill: impl FnMut(&mut [u8], u64) -> Result<usize>,
) -> Result<()> {
    let mut done = 0;
    while let Some(rest @ [_, ..]) = buf.get_mut(done..) {
        done += fill(rest, at + done as u64)?;
    }
    Ok(())
}

/// The first `len` bytes of a buffer, or all there are.
pub(super) fn start(buf: &mut [u8], len: u64) -> &mut [u8] {
    let len = usize::try_from(len).map_or(buf.len(), |len| len.min(buf.len()));
    &mut buf[..len]
}

/// Refuses to guess where a backing file looks like one thing and is called another: what looks
/// like qcow2 may be what a guest wrote to its raw disk.
pub(super) fn check_format(layer: &Layer, found: Format, below: Option<&Backing>) -> Result<()> {
    let declared = below.and_then(|backing| backing.format.as_deref());
    match declared {
        Some(declared) if layer.format.is_none() && declared != found.to_string() => {
            let (path, declared) = (layer.path.clone(), declared.to_owned());
            Err(Error::Doubtful { path, found, declared }.into())
        }
        _ => Ok(()),
    }
}
