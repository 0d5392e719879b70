//! FAT12, FAT16 and FAT32 with long names: what boot partitions have.
//!
//! ```text
//!   sector 0   +11 bytes of a sector   +13 sectors of a cluster   +14 sectors before the FATs
//!              +16 FATs   +17 entries of the root folder   +22, +36 sectors of a FAT
//!              +19, +32 sectors in all   +44 the root folder's first cluster (FAT32)
//!   reserved | FAT | FAT | root folder (FAT12, FAT16) | clusters 2, 3, ...
//! ```

use std::io::Write;

use super::{Files, Kind};
use crate::bytes::{array, u16, u32};
use crate::disk::Window;
use crate::error::{Error, Result};

/// The largest folder, bytes; FAT allows 65,536 entries of 32.
const FOLDER: usize = 2 << 20;
/// An entry of a folder, bytes.
const ENTRY: usize = 32;
/// Attributes: a folder; a volume's label; a piece of a long name.
const IS_FOLDER: u8 = 0x10;
const IS_LABEL: u8 = 0x08;
const IS_NAME: u8 = 0x0f;

/// The width of a FAT's entries.
#[derive(Clone, Copy)]
enum Width {
    Bits12,
    Bits16,
    Bits32,
}

/// A filesystem whose first sector adds up.
pub(crate) struct Fat {
    window: Window,
    width: Width,
    /// Where the FAT, the root folder of the older ones, and cluster 2 are, bytes.
    fat: u64,
    root: u64,
    data: u64,
    root_len: usize,
    root_cluster: u32,
    cluster: usize,
    clusters: u32,
}

/// An entry of a folder.
struct Entry {
    name: String,
    kind: Kind,
    cluster: u32,
}

impl Fat {
    /// Reads the first sector.
    pub fn open(window: &Window) -> Result<Fat> {
        let boot = window.bytes::<512>(0).map_err(Error::Read)?;
        parse(window, &boot).ok_or(Error::Fat("its first sector is damaged"))
    }

    /// The cluster after `cluster`; `None` at a chain's end, or where it breaks.
    fn next(&self, cluster: u32) -> Result<Option<u32>> {
        let at = |width: u64| self.fat + u64::from(cluster) * width / 2;
        let next = match self.width {
            Width::Bits12 => {
                let pair = u16::from_le_bytes(self.window.bytes(at(3)).map_err(Error::Read)?);
                u32::from(if cluster.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 })
            }
            Width::Bits16 => {
                u32::from(u16::from_le_bytes(self.window.bytes(at(4)).map_err(Error::Read)?))
            }
            Width::Bits32 => {
                u32::from_le_bytes(self.window.bytes(at(8)).map_err(Error::Read)?) & 0x0fff_ffff
            }
        };
        Ok(self.holds(next).then_some(next))
    }

    fn holds(&self, cluster: u32) -> bool {
        (2..self.clusters.saturating_add(2)).contains(&cluster)
    }

    /// Hands `len` bytes of the chain from `first` to `take`, cluster by cluster; fewer where the
    /// chain ends before.
    fn follow(
        &self,
        first: u32,
        len: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<u64> {
        let mut left = len;
        let mut cluster = Some(first).filter(|first| self.holds(*first));
        // A longer chain goes in a circle.
        for _ in 0..self.clusters {
            let Some(here) = cluster.filter(|_| left > 0) else { break };
            let size = usize::try_from(left).map_or(self.cluster, |left| left.min(self.cluster));
            let at = self.data + u64::from(here - 2) * self.cluster as u64;
            take(&self.window.vec(at, size).map_err(Error::Read)?)?;
            left -= size as u64;
            cluster = self.next(here)?;
        }
        Ok(len - left)
    }

    /// The entries of the folder that starts at this cluster; 0 is the root.
    fn folder(&self, cluster: u32) -> Result<Vec<Entry>> {
        let cluster = if cluster == 0 { self.root_cluster } else { cluster };
        if cluster == 0 {
            return Ok(entries(&self.window.vec(self.root, self.root_len).map_err(Error::Read)?));
        }
        let mut bytes = Vec::new();
        self.follow(cluster, FOLDER as u64, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(entries(&bytes))
    }

    fn find(&self, path: &str) -> Result<Option<Entry>> {
        let mut found = Entry { name: String::new(), kind: Kind::Folder(0), cluster: 0 };
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Kind::Folder(_) = found.kind else { return Ok(None) };
            let entries = self.folder(found.cluster)?;
            let entry = entries.into_iter().find(|entry| entry.name.eq_ignore_ascii_case(name));
            let Some(entry) = entry else { return Ok(None) };
            found = entry;
        }
        Ok(Some(found))
    }
}

impl Files for Fat {
    fn kind(&self, path: &str) -> Result<Option<Kind>> {
        Ok(self.find(path)?.map(|entry| entry.kind))
    }

    fn names(&self, path: &str, limit: usize) -> Result<Vec<String>> {
        let folder = self.find(path)?.ok_or_else(|| Error::Missing(path.to_owned()))?;
        let entries = self.folder(folder.cluster)?;
        Ok(entries.into_iter().take(limit).map(|entry| entry.name).collect())
    }

    fn link(&self, path: &str) -> Result<String> {
        Err(Error::Missing(path.to_owned()))
    }

    fn copy(&self, path: &str, len: u64, to: &mut dyn Write) -> Result<()> {
        let file = self.find(path)?.ok_or_else(|| Error::Missing(path.to_owned()))?;
        let copied = self.follow(file.cluster, len, &mut |bytes| {
            let write = to.write_all(bytes);
            write.map_err(|source| Error::Write { path: path.to_owned(), source })
        })?;
        if copied == len { Ok(()) } else { Err(Error::Fat("a file ends early")) }
    }
}

/// Where everything is; `None` when the first sector is none of a FAT filesystem's.
fn parse(window: &Window, boot: &[u8; 512]) -> Option<Fat> {
    let sector = u64::from(u16(boot, 11));
    let per_cluster = u64::from(array::<1>(boot, 13)[0]);
    if !(512..=4096).contains(&sector)
        || !sector.is_power_of_two()
        || !per_cluster.is_power_of_two()
    {
        return None;
    }
    let either = |short: usize, long: usize| match u16(boot, short) {
        0 => u64::from(u32(boot, long)),
        short => u64::from(short),
    };
    let fat_sectors = u64::from(array::<1>(boot, 16)[0]) * either(22, 36);
    let root_len = u64::from(u16(boot, 17)) * ENTRY as u64;
    let fat = u64::from(u16(boot, 14)) * sector;
    let root = fat + fat_sectors * sector;
    let data = root + root_len.next_multiple_of(sector);
    let cluster = per_cluster * sector;
    let end = (either(19, 32) * sector).min(window.len());
    let clusters = u32::try_from(end.checked_sub(data)? / cluster).ok()?;
    let width = match clusters {
        0..4085 => Width::Bits12,
        4085..65525 => Width::Bits16,
        _ => Width::Bits32,
    };
    let root_cluster = if u16(boot, 22) == 0 { u32(boot, 44) } else { 0 };
    Some(Fat {
        window: window.clone(),
        width,
        fat,
        root,
        data,
        root_len: usize::try_from(root_len).ok()?,
        root_cluster,
        cluster: usize::try_from(cluster).ok()?,
        clusters,
    })
}

/// The files and folders in a folder's bytes.
fn entries(bytes: &[u8]) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut long = Vec::new();
    for entry in bytes.chunks_exact(ENTRY) {
        let ([first], [attributes]) = (array(entry, 0), array(entry, 11));
        match (first, attributes) {
            (0, _) => break,
            (0xe5, _) => long.clear(),
            (_, IS_NAME) => long.splice(0..0, piece(entry)).for_each(drop),
            (_, attributes) if attributes & IS_LABEL != 0 => long.clear(),
            (_, attributes) => {
                let name = name(entry, &std::mem::take(&mut long));
                let cluster = u32::from(u16(entry, 20)) << 16 | u32::from(u16(entry, 26));
                let kind = match attributes & IS_FOLDER {
                    0 => Kind::File(u64::from(u32(entry, 28))),
                    _ => Kind::Folder(0),
                };
                found.push(Entry { name, kind, cluster });
            }
        }
        // A name has 255 letters at most.
        long.truncate(260);
    }
    found
}

/// Thirteen letters of a long name. Its pieces come last piece first.
fn piece(entry: &[u8]) -> impl Iterator<Item = u16> + use<> {
    let letters = array::<10>(entry, 1).into_iter().chain(array::<12>(entry, 14));
    let bytes: Vec<u8> = letters.chain(array::<4>(entry, 28)).collect();
    let letters: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16(pair, 0)).collect();
    letters.into_iter().take_while(|letter| !matches!(letter, 0 | 0xffff))
}

/// The long name, or else the short one in small letters, as Linux shows it.
fn name(entry: &[u8], long: &[u16]) -> String {
    if !long.is_empty() {
        return String::from_utf16_lossy(long);
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_ascii_lowercase();
    let (stem, ending) = (text(&array::<8>(entry, 0)), text(&array::<3>(entry, 8)));
    if ending.is_empty() { stem } else { format!("{stem}.{ending}") }
}

#[cfg(test)]
pub(crate) mod tests;
