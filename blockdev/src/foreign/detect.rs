//! What a file is, told by its first bytes.
//!
//! Only at import, once: a guest can write whatever it likes to the first sector of its disk, so
//! the answer is recorded (the store's bases are raw) and never looked for again.

use super::{Error, Format};
use crate::Result;
use crate::copy::Raw;

const CONVERT: &str = "convert it: qemu-img convert -f FORMAT -O raw FILE disk.raw \
                       (or --format raw, if it is raw)";
const UNPACK: &str = "unpack it first (or --format raw, if it is raw)";

/// The first bytes of formats that are read here.
const READ: [(&[u8], Format); 3] = [
    (b"QFI\xfb", Format::Qcow2),
    (b"KDMV", Format::Vmdk),
    (b"# Disk DescriptorFile", Format::Vmdk),
];

/// Those of formats that are not.
const OTHERS: [(&[u8], &str, &str); 9] = [
    (b"vhdxfile", "vhdx", CONVERT),
    (b"conectix", "vpc", CONVERT),
    (b"QED\0", "qed", CONVERT),
    (b"<<< ", "vdi", CONVERT),
    (b"COWD", "an old vmdk", CONVERT),
    (b"\xfd7zXZ\0", "xz", UNPACK),
    (b"\x1f\x8b\x08", "gzip", UNPACK),
    (b"\x28\xb5\x2f\xfd", "zstd", UNPACK),
    (b"OFFDELTA", "a delta of offshoot", "import the image it was cloned from"),
];

/// The format of `file`; raw when nothing else is known to start like this.
///
/// # Errors
/// It looks like a format that is not read here.
pub(super) fn format(file: &Raw) -> Result<Format> {
    let mut start = [0; 32];
    let count = file.read_some(&mut start, 0)?;
    let start = &start[..count];
    if let Some((_, format)) = READ.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Ok(*format);
    }
    match OTHERS.iter().find(|(magic, ..)| start.starts_with(magic)) {
        Some((_, format, advice)) => {
            Err(Error::Format { path: file.path().into(), format, advice }.into())
        }
        None => Ok(Format::Raw),
    }
}
