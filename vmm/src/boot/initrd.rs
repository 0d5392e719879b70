//! The initial ramdisk: straight from its file to the top of the memory it may use.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::image::Image;
use crate::memory::GuestMemory;

/// Kernels free an initrd by pages.
const PAGE: u64 = 4096;

/// Why an initrd cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the variants and their numbers mean")]
pub enum Error {
    #[error("cannot open it")]
    Open(#[source] io::Error),
    #[error("it is empty")]
    Empty,
    #[error(
        "it has {size} bytes, but the kernel leaves it {room} bytes of guest memory at most; \
         give the machine more memory"
    )]
    TooLarge { size: u64, room: u64 },
    #[error("cannot copy it to guest memory at {at:#x}")]
    Copy { at: u64, source: io::Error },
}

/// Loads `path` as high as it fits into `free`, which is ordered from the highest down.
pub(super) fn load(
    path: &Path,
    free: &[Range<u64>],
    memory: &GuestMemory,
) -> Result<Range<u64>, Error> {
    let image = Image::open(path).map_err(Error::Open)?;
    let size = image.len();
    if size == 0 {
        return Err(Error::Empty);
    }
    let at = place(size, free).ok_or_else(|| {
        let room = free.iter().map(room).max().unwrap_or(0);
        Error::TooLarge { size, room }
    })?;
    let copied = image.copy_to(memory, at, 0, size);
    copied.map_err(|source| Error::Copy { at, source })?;
    Ok(at..at + size)
}

/// What page-aligned things can have of `free`.
fn room(free: &Range<u64>) -> u64 {
    free.end.saturating_sub(free.start.next_multiple_of(PAGE))
}

fn place(size: u64, free: &[Range<u64>]) -> Option<u64> {
    let fits = free.iter().find(|free| size <= room(free))?;
    Some((fits.end - size) / PAGE * PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_as_high_as_pages_allow() {
        let free = std::slice::from_ref(&(0x10_0000..0x20_0000));
        assert_eq!(place(1, free), Some(0x1f_f000));
        assert_eq!(place(0x1000, free), Some(0x1f_f000));
        assert_eq!(place(0x1001, free), Some(0x1f_e000));
    }

    #[test]
    fn takes_the_highest_stretch_that_is_large_enough() {
        let free = [0x50_0000..0x50_8000, 0x10_0001..0x20_0000];
        assert_eq!(place(0x8000, &free), Some(0x50_0000));
        assert_eq!(place(0x8001, &free), Some(0x1f_7000));
        assert_eq!(place(0xf_f000, &free), Some(0x10_1000));
        assert_eq!(place(0xf_f001, &free), None);
    }
}
