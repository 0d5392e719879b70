//! ext2, ext3 and ext4, through `ext4-view`. It trusts some lengths; they are checked here first.

use std::error::Error as StdError;
use std::io::{Read, Write};

use ext4_view::{Ext4Error, Ext4Read, FileType, Metadata};

use super::{Files, Kind};
use crate::bytes::{u16, u32};
use crate::disk::Window;
use crate::error::{Error, Result};

/// Block groups of a filesystem; each is kept in memory. 128 TiB with usual ones.
const GROUPS: u64 = 1 << 20;
/// The longest journal that is replayed, bytes: its revocations are kept in memory.
const JOURNAL: u64 = 1 << 30;
/// Incompatible features: the journal is to be replayed; descriptors are spread; of 64 bytes.
const RECOVERY: u32 = 0x4;
const META_GROUPS: u32 = 0x10;
const WIDE: u32 = 0x80;

/// A filesystem that was opened; its journal was replayed in memory.
pub struct Ext4(ext4_view::Ext4);

struct Reader(Window);

impl Ext4Read for Reader {
    fn read(
        &mut self,
        at: u64,
        to: &mut [u8],
    ) -> std::result::Result<(), Box<dyn StdError + Send + Sync + 'static>> {
        Ok(self.0.read(to, at)?)
    }
}

impl Ext4 {
    pub fn open(window: &Window) -> Result<Ext4> {
        Super::read(window)?.check(window)?;
        let fs = ext4_view::Ext4::load(Box::new(Reader(window.clone()))).map_err(error)?;
        Ok(Ext4(fs))
    }

    fn metadata(&self, path: &str) -> Result<Option<Metadata>> {
        match self.0.symlink_metadata(absolute(path)) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(Ext4Error::NotFound | Ext4Error::NotADirectory) => Ok(None),
            Err(other) => Err(error(other)),
        }
    }
}

impl Files for Ext4 {
    fn kind(&self, path: &str) -> Result<Option<Kind>> {
        Ok(self.metadata(path)?.map(|metadata| match metadata.file_type() {
            FileType::Regular => Kind::File(metadata.len()),
            FileType::Directory => Kind::Folder(metadata.len()),
            FileType::Symlink => Kind::Link(metadata.len()),
            _ => Kind::Other,
        }))
    }

    fn names(&self, path: &str, limit: usize) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.0.read_dir(absolute(path)).map_err(error)?.take(limit) {
            let entry = entry.map_err(error)?;
            names.extend(entry.file_name().as_str().ok().map(str::to_owned));
        }
        Ok(names)
    }

    fn link(&self, path: &str) -> Result<String> {
        let to = self.0.read_link(absolute(path)).map_err(error)?;
        Ok(String::from_utf8_lossy(to.as_ref()).into_owned())
    }

    fn copy(&self, path: &str, len: u64, to: &mut dyn Write) -> Result<()> {
        let mut file = self.0.open(absolute(path)).map_err(error)?;
        let mut buffer = vec![0; 1 << 16];
        let mut left = len;
        while left > 0 {
            let read = file.read(&mut buffer).map_err(|error| Error::Ext4(error.to_string()))?;
            let bytes = buffer.get(..read).unwrap_or_default();
            let write = to.write_all(bytes);
            write.map_err(|source| Error::Write { path: path.to_owned(), source })?;
            left = left.saturating_sub(read as u64);
            if read == 0 {
                return Err(Error::Ext4(format!("{path} ends early")));
            }
        }
        Ok(())
    }
}

/// The empty path is the root.
fn absolute(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

fn error(error: Ext4Error) -> Error {
    match error {
        Ext4Error::Io(source) => Error::Read(std::io::Error::other(source)),
        other => Error::Ext4(other.to_string()),
    }
}

/// What memory and time depend on.
struct Super {
    block: u64,
    blocks: u64,
    per_group: u64,
    inodes_per_group: u32,
    inode_size: u64,
    journal: u32,
    incompatible: u32,
    descriptor: u64,
}

impl Super {
    fn read(window: &Window) -> Result<Super> {
        let bytes = window.bytes::<1024>(1024).map_err(Error::Read)?;
        let incompatible = u32(&bytes, 0x60);
        let wide = incompatible & WIDE != 0;
        let high = u64::from(u32(&bytes, 0x150)) << 32;
        let log = u32(&bytes, 0x18);
        if log > 6 {
            return Err(Error::Ext4("its block size is impossible".into()));
        }
        Ok(Super {
            block: 1024 << log,
            blocks: high | u64::from(u32(&bytes, 0x4)),
            per_group: u64::from(u32(&bytes, 0x20)),
            inodes_per_group: u32(&bytes, 0x28),
            inode_size: u64::from(u16(&bytes, 0x58)),
            journal: u32(&bytes, 0xe0),
            incompatible,
            descriptor: if wide { u64::from(u16(&bytes, 0xfe)) } else { 32 },
        })
    }

    fn check(&self, window: &Window) -> Result<()> {
        let wrong = |what: &str| Err(Error::Ext4(what.into()));
        if self.blocks.checked_mul(self.block).is_none_or(|len| len > window.len()) {
            return wrong("it is larger than its partition");
        }
        if self.per_group == 0 || self.inodes_per_group == 0 || self.inode_size < 128 {
            return wrong("its superblock is damaged");
        }
        if self.blocks.div_ceil(self.per_group) > GROUPS {
            return wrong("it has too many block groups");
        }
        if self.incompatible & RECOVERY != 0 && self.journal_len(window)? > JOURNAL {
            return wrong("its journal is too long, or not where it is looked for");
        }
        Ok(())
    }

    /// The journal's length, bytes, as its inode has it. An unknown one counts as endless.
    fn journal_len(&self, window: &Window) -> Result<u64> {
        let index = self.journal.checked_sub(1);
        let Some(index) = index.filter(|_| self.incompatible & META_GROUPS == 0) else {
            return Ok(u64::MAX);
        };
        let group = u64::from(index / self.inodes_per_group);
        let descriptors = if self.block == 1024 { 2048 } else { self.block };
        let descriptor = window.bytes::<64>(descriptors + group * self.descriptor);
        let descriptor = descriptor.map_err(Error::Read)?;
        let high = if self.descriptor >= 64 { u64::from(u32(&descriptor, 0x28)) << 32 } else { 0 };
        let table = (high | u64::from(u32(&descriptor, 0x8))).saturating_mul(self.block);
        let at = u64::from(index % self.inodes_per_group) * self.inode_size;
        let inode = window.bytes::<128>(table.saturating_add(at)).map_err(Error::Read)?;
        Ok(u64::from(u32(&inode, 0x6c)) << 32 | u64::from(u32(&inode, 0x4)))
    }
}
