//! A kernel file, whatever its kind: recognised, unpacked where needed, loaded.

use std::io;
use std::ops::Range;
use std::path::Path;

use linux_loader::loader::bootparam::setup_header;
use memchr::memmem;

use super::elf::{self, Elf, Segment};
use super::image::Image;
use super::{Protocol, bzimage};
use crate::layout;
use crate::memory::GuestMemory;

/// Longest command line of an x86 kernel that does not say (`COMMAND_LINE_SIZE`, less the NUL).
const DEFAULT_CMDLINE_LIMIT: u32 = 2047;
/// Every system that can find ACPI tables by itself holds these bytes: the RSDP's signature.
const ACPI_MARKER: &[u8] = b"RSD PTR ";

/// Why a kernel cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the variants and their numbers mean")]
pub enum Error {
    #[error("cannot open it")]
    Open(#[source] io::Error),
    #[error("cannot read it")]
    Read(#[source] io::Error),
    #[error("it is empty")]
    Empty,
    #[error("it is not a kernel: neither an ELF file (vmlinux) nor a bzImage (vmlinuz)")]
    NotAKernel,
    #[error(transparent)]
    Elf(#[from] elf::Error),
    #[error(transparent)]
    BzImage(#[from] bzimage::Error),
    #[error("what it unpacks to cannot be used")]
    Unpacked(#[source] elf::Error),
    #[error("cannot copy it to guest memory at {at:#x}")]
    Copy { at: u64, source: io::Error },
}

/// A kernel, checked and ready to be loaded.
pub(super) struct Kernel {
    image: Image,
    elf: Elf,
    /// A bzImage's; an ELF file has none.
    setup: Option<setup_header>,
}

impl Kernel {
    /// Opens and checks the kernel at `path` for a machine that has `room` for kernels.
    pub fn open(path: &Path, room: &Range<u64>) -> Result<Kernel, Error> {
        Kernel::from_image(Image::open(path).map_err(Error::Open)?, room)
    }

    fn from_image(image: Image, room: &Range<u64>) -> Result<Kernel, Error> {
        match recognise(&image)? {
            Kind::Elf => {
                let elf = Elf::parse(&image, room)?;
                Ok(Kernel { image, elf, setup: None })
            }
            Kind::BzImage(packed) => {
                let (unpacked, elf) = unpack_checked(&image, &packed, room)?;
                Ok(Kernel { image: unpacked, elf, setup: Some(packed.setup) })
            }
        }
    }

    /// How to enter it: as asked, or as `boot`'s documentation says.
    pub fn entry(&self, asked: Option<Protocol>) -> Result<(Protocol, u64), Error> {
        let is_linux = self.elf.is_linux || self.setup.is_some();
        let protocol = asked.unwrap_or(match self.elf.pvh_entry {
            Some(_) if !is_linux => Protocol::Pvh,
            _ => Protocol::Linux64,
        });
        let entry = match protocol {
            Protocol::Linux64 => self.elf.entry,
            Protocol::Pvh => self.elf.pvh_entry.ok_or(elf::Error::NoPvhEntry)?.into(),
        };
        Ok((protocol, self.elf.check_entry(entry)?))
    }

    /// Copies it to where it is linked for. What only memory has of it (.bss) is not touched.
    pub fn load(&self, memory: &GuestMemory) -> Result<(), Error> {
        for Segment { offset, file_size, range } in &self.elf.segments {
            self.image
                .copy_to(memory, range.start, *offset, *file_size)
                .map_err(|source| Error::Copy { at: range.start, source })?;
        }
        Ok(())
    }

    /// Whether it can find ACPI tables.
    pub fn finds_acpi(&self) -> Result<bool, Error> {
        for Segment { offset, file_size, .. } in &self.elf.segments {
            if contains(&self.image, *offset, *file_size, ACPI_MARKER).map_err(Error::Read)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Longest command line it takes, without the NUL.
    pub fn cmdline_limit(&self) -> u32 {
        self.setup.map_or(DEFAULT_CMDLINE_LIMIT, |setup| setup.cmdline_size)
    }

    /// What a bzImage says of itself.
    pub fn setup_header(&self) -> Option<&setup_header> {
        self.setup.as_ref()
    }

    /// What it leaves of `room` and can reach early, from the highest down.
    pub fn free_memory(&self, room: &Range<u64>) -> Vec<Range<u64>> {
        let reachable = self.setup.map_or(u32::MAX, |setup| setup.initrd_addr_max);
        let mut end = room.end.min(u64::from(reachable) + 1);
        let mut free = Vec::new();
        let below_all = room.start..room.start;
        for taken in self.elf.segments.iter().rev().map(|s| &s.range).chain([&below_all]) {
            if taken.end < end {
                free.push(taken.end..end);
            }
            end = end.min(taken.start);
        }
        free
    }
}

/// See [`super::unpack`].
pub(super) fn unpack(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    // The largest machine: an image is imported once, for machines of any size.
    let room = layout::KERNEL_START..layout::GAP.start;
    let image = Image::open(path).map_err(Error::Open)?;
    match recognise(&image)? {
        Kind::Elf => {
            Elf::parse(&image, &room)?;
            Ok(None)
        }
        Kind::BzImage(packed) => {
            let (unpacked, _) = unpack_checked(&image, &packed, &room)?;
            Ok(unpacked.into_bytes())
        }
    }
}

enum Kind {
    Elf,
    BzImage(bzimage::BzImage),
}

fn recognise(image: &Image) -> Result<Kind, Error> {
    let mut magic = [0; 4];
    let found = image.read_at(&mut magic, 0).map_err(Error::Read)?;
    if found.is_empty() {
        return Err(Error::Empty);
    }
    if found == elf::MAGIC {
        return Ok(Kind::Elf);
    }
    bzimage::parse(image)?.map(Kind::BzImage).ok_or(Error::NotAKernel)
}

fn unpack_checked(
    image: &Image,
    packed: &bzimage::BzImage,
    room: &Range<u64>,
) -> Result<(Image, Elf), Error> {
    let unpacked = Image::from(packed.unpack(image)?);
    let elf = Elf::parse(&unpacked, room).map_err(Error::Unpacked)?;
    Ok((unpacked, elf))
}

/// Whether `needle` is in that part of `image`.
///
/// Searched from its end: constants follow code in a kernel, so what is there is found sooner.
fn contains(image: &Image, at: u64, len: u64, needle: &[u8]) -> io::Result<bool> {
    const CHUNK: usize = 64 << 10;
    let finder = memmem::Finder::new(needle);
    let mut buf = vec![0; CHUNK + needle.len()];
    let mut start = at + len;
    while start > at {
        // Each chunk reaches into the one after it, so a needle across both is seen.
        start = start.saturating_sub(CHUNK as u64).max(at);
        let left = usize::try_from(at + len - start).unwrap_or(usize::MAX);
        let (buf, _) = buf.split_at_mut(left.min(CHUNK + needle.len()));
        if finder.find(image.read_at(buf, start)?).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
