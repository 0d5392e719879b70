//! bzImage: an ELF kernel compressed, behind the setup code and header of the Linux boot protocol
//! (Documentation/arch/x86/boot.rst).
//!
//! ```text
//! 0      0x1f1          (setup_sects + 1) * 512   + payload_offset      + payload_length
//! ├──────┬──────────────┬─────────────────────────┬─────────────────────┬────────
//! │ setup│ setup_header │ decompressor            │ vmlinux, compressed │ …
//! └──────┴──────────────┴─────────────────────────┴─────────────────────┴────────
//! ```
//!
//! The setup code and the decompressor never run: the payload is unpacked here.

use std::ops::Range;

use linux_loader::loader::bootparam::setup_header;
use vm_memory::ByteValued;

use super::decompress;
use super::image::Image;

/// Where the header starts in the file.
const HEADER: usize = 0x1f1;
/// The header's own length is the distance from here to `HEADER_END_BASE` plus this byte's value.
const HEADER_LENGTH: usize = 0x201;
const HEADER_END_BASE: usize = 0x202;
const BOOT_FLAG: u16 = 0xaa55;
/// "HdrS".
const MAGIC: u32 = 0x5372_6448;
/// 2.08 says where the payload is.
const OLDEST: u16 = 0x0208;
const SECTOR: u64 = 512;

/// Why a bzImage cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the variants and their numbers mean")]
pub enum Error {
    #[error("cannot read it")]
    Read(#[source] std::io::Error),
    #[error(
        "it is a kernel of boot protocol {}.{:02}, from before Linux 2.6.26; 2.08 or later is \
         needed", .0 >> 8, .0 & 0xff
    )]
    TooOld(u16),
    #[error("it is truncated: its compressed kernel ends at byte {end}, the file at {len}")]
    Truncated { end: u64, len: u64 },
    #[error("it has no compressed kernel (its header gives {0} bytes for it)")]
    NoPayload(u32),
    #[error("cannot unpack the kernel inside it")]
    Unpack(#[from] decompress::Error),
}

/// What the header of a bzImage says.
pub(super) struct BzImage {
    /// The header, for the kernel to see in its zero page.
    pub setup: setup_header,
    payload: Range<u64>,
}

/// Reads the header of `image`; `None` where it has none.
pub(super) fn parse(image: &Image) -> Result<Option<BzImage>, Error> {
    let mut buf = [0; HEADER + size_of::<setup_header>()];
    let found = image.read_at(&mut buf, 0).map_err(Error::Read)?.len();
    // What the header leaves out is zero to the kernel, not code that happens to follow.
    let end = HEADER_END_BASE + usize::from(buf[HEADER_LENGTH]);
    buf.iter_mut().skip(end.min(found)).for_each(|byte| *byte = 0);
    let mut setup = setup_header::default();
    setup.as_mut_slice().copy_from_slice(&buf[HEADER..]);

    if (setup.boot_flag, setup.header) != (BOOT_FLAG, MAGIC) {
        return Ok(None);
    }
    if setup.version < OLDEST {
        return Err(Error::TooOld(setup.version));
    }
    let payload = payload(&setup);
    if payload.end > image.len() {
        return Err(Error::Truncated { end: payload.end, len: image.len() });
    }
    if setup.payload_length <= decompress::TRAILER {
        return Err(Error::NoPayload(setup.payload_length));
    }
    Ok(Some(BzImage { setup, payload }))
}

fn payload(setup: &setup_header) -> Range<u64> {
    let sectors = match setup.setup_sects {
        0 => 4,
        given => u64::from(given),
    };
    // Three 32-bit numbers at most: no sum of them overflows 64 bits.
    let start = (sectors + 1) * SECTOR + u64::from(setup.payload_offset);
    start..start + u64::from(setup.payload_length)
}

impl BzImage {
    /// The kernel inside.
    pub fn unpack(&self, image: &Image) -> Result<Vec<u8>, Error> {
        Ok(decompress::unpack(image, self.payload.clone())?)
    }
}
