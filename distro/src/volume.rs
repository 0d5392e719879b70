//! What a partition holds, by its signature.

use std::fmt::{self, Display};

use uuid::Uuid;

use crate::bytes::{array, u16, u32};
use crate::disk::Window;
use crate::table::Partition;

/// What there is on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A filesystem, or what else `name` says, and what `UUID=` names it by.
    Known { name: &'static str, uuid: Option<String> },
    /// No signature that is known here.
    Unknown,
}

/// A partition and what is on it.
pub(crate) struct Volume {
    pub partition: Partition,
    pub content: Content,
}

impl Volume {
    pub fn new(partition: Partition) -> Volume {
        let content = identify(&partition.window);
        Volume { partition, content }
    }

    /// What its content is called.
    pub fn kind(&self) -> &'static str {
        match self.content {
            Content::Known { name, .. } => name,
            Content::Unknown => "no known filesystem",
        }
    }

    /// What `root=` takes: the filesystem's UUID where an initial ramdisk resolves that, else what
    /// the kernel resolves itself.
    pub fn root(&self, initrd: bool) -> String {
        let Partition { number, uuid: partition, .. } = &self.partition;
        match (&self.content, partition, number) {
            (Content::Known { uuid: Some(uuid), .. }, ..) if initrd => format!("UUID={uuid}"),
            (_, Some(partition), _) => format!("PARTUUID={partition}"),
            (_, None, Some(number)) => format!("/dev/vda{number}"),
            (_, None, None) => "/dev/vda".into(),
        }
    }
}

impl Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.partition.number {
            Some(number) => write!(f, "partition {number} ({})", self.kind()),
            None => write!(f, "the whole disk ({})", self.kind()),
        }
    }
}

/// A signature: bytes at a place.
type Signature = (&'static str, u64, &'static [u8]);

/// The first that fits counts.
const SIGNATURES: [Signature; 15] = [
    ("LUKS", 0, b"LUKS\xba\xbe"),
    ("LVM", 512 + 24, b"LVM2 001"),
    ("LVM", 24, b"LVM2 001"),
    ("RAID", 4096, b"\xfc\x4e\x2b\xa9"),
    ("XFS", 0, b"XFSB"),
    ("btrfs", 0x1_0040, b"_BHRfS_M"),
    ("ext4", 0x438, b"\x53\xef"),
    ("f2fs", 0x400, b"\x10\x20\xf5\xf2"),
    ("swap", 4096 - 10, b"SWAPSPACE2"),
    ("squashfs", 0, b"hsqs"),
    ("NTFS", 3, b"NTFS    "),
    ("ISO 9660", 0x8001, b"CD001"),
    ("FAT", 0x52, b"FAT32   "),
    ("FAT", 0x36, b"FAT16   "),
    ("FAT", 0x36, b"FAT12   "),
];

fn identify(window: &Window) -> Content {
    let fits = |(_, at, bytes): &&Signature| {
        window.vec(*at, bytes.len()).is_ok_and(|found| found == *bytes)
    };
    match SIGNATURES.iter().find(fits) {
        Some((name, ..)) => Content::Known { name, uuid: uuid(window, name) },
        None => Content::Unknown,
    }
}

/// The filesystem's UUID, where its kind is known to have one there.
fn uuid(window: &Window, name: &str) -> Option<String> {
    let at = match name {
        "ext4" => 0x468,
        "XFS" => 32,
        "btrfs" => 0x1_0020,
        "FAT" => return serial(window),
        _ => return None,
    };
    let uuid = Uuid::from_bytes(window.bytes(at).ok()?);
    (!uuid.is_nil()).then(|| uuid.to_string())
}

/// FAT has a number of 32 bits, in one of two places.
fn serial(window: &Window) -> Option<String> {
    let sector = window.bytes::<512>(0).ok()?;
    let at = if array(&sector, 0x52) == *b"FAT32   " { 0x43 } else { 0x27 };
    let serial = u32(&sector, at);
    (serial != 0).then(|| format!("{:04X}-{:04X}", u16(&sector, at + 2), u16(&sector, at)))
}
