//! A FAT12 disk image of a few files in its root directory, made in one go.
//!
//! ```text
//!   sector 0    1          ...        ...         ...
//!   ┌──────────┬──────────┬──────────┬───────────┬─────────────────────────────┐
//!   │ boot     │ FAT      │ its copy │ root      │ clusters 2, 3, ...          │
//!   └──────────┴──────────┴──────────┴───────────┴─────────────────────────────┘
//! ```
//! No clock and no chance: the same files make the same bytes. Microsoft's "FAT: General Overview
//! of On-Disk Format", 1.03.

/// Bytes.
const SECTOR: usize = 512;
/// Of a directory's entry.
const ENTRY: usize = 32;
/// With more of them it would be FAT16.
const MOST_CLUSTERS: usize = 4084;
/// In sectors, at most 32 KiB.
const CLUSTER_SIZES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Free ones, so that the smallest disk is not smaller than what tools have seen.
const SPARE: usize = 16;
/// 1 January 1980, the first day there is.
const DATE: u16 = 1 << 5 | 1;
/// A fixed disk.
const MEDIA: u8 = 0xf8;
/// The last cluster of a file.
const LAST: usize = 0xfff;

/// A file: its name in ASCII, at most 255 characters, and its bytes.
pub(crate) type File<'a> = (&'a str, &'a [u8]);

/// The image, labelled `label`, at most 11 upper case letters, with the volume's `serial` number;
/// `None` where the files are too many or too large, which at most 16 MiB never are.
pub(crate) fn image(label: &str, serial: u32, files: &[File<'_>]) -> Option<Vec<u8>> {
    let layout = Layout::of(files)?;
    let label = padded(label.bytes());
    let mut image = layout.boot_sector(&label, serial)?;
    let fat = layout.fat(files);
    image.extend_from_slice(&fat);
    image.extend_from_slice(&fat);
    image.extend(layout.root(&label, files)?);
    for (_, bytes) in files {
        image.extend_from_slice(bytes);
        image.resize(image.len().next_multiple_of(SECTOR), 0);
        let data = image.len() - layout.data() * SECTOR;
        image.resize(layout.data() * SECTOR + data.next_multiple_of(layout.cluster()), 0);
    }
    image.resize(layout.sectors() * SECTOR, 0);
    Some(image)
}

/// How many of what.
struct Layout {
    /// Sectors of a cluster.
    per_cluster: usize,
    clusters: usize,
    /// Sectors of one FAT.
    fat: usize,
    /// Sectors of the root directory.
    root: usize,
}

impl Layout {
    /// The one with the smallest clusters.
    fn of(files: &[File<'_>]) -> Option<Layout> {
        let entries: usize = files.iter().map(|(name, _)| 1 + long_entries(name)).sum();
        let layout = |per_cluster: usize| {
            let cluster = per_cluster * SECTOR;
            let used: usize = files.iter().map(|(_, bytes)| bytes.len().div_ceil(cluster)).sum();
            let clusters = used + SPARE;
            let fat = ((clusters + 2) * 3).div_ceil(2).div_ceil(SECTOR);
            Layout { per_cluster, clusters, fat, root: ((entries + 1) * ENTRY).div_ceil(SECTOR) }
        };
        CLUSTER_SIZES.into_iter().map(layout).find(|layout| layout.clusters <= MOST_CLUSTERS)
    }

    /// Bytes of a cluster.
    fn cluster(&self) -> usize {
        self.per_cluster * SECTOR
    }

    /// The first sector of the first cluster.
    fn data(&self) -> usize {
        1 + 2 * self.fat + self.root
    }

    fn sectors(&self) -> usize {
        self.data() + self.clusters * self.per_cluster
    }

    fn boot_sector(&self, label: &[u8; 11], serial: u32) -> Option<Vec<u8>> {
        let mut boot = vec![0xeb, 0x3c, 0x90];
        boot.extend_from_slice(b"OFFSHOOT");
        let word = |boot: &mut Vec<u8>, value: usize| {
            u16::try_from(value).ok().map(|value| boot.extend(value.to_le_bytes()))
        };
        word(&mut boot, SECTOR)?;
        boot.push(u8::try_from(self.per_cluster).ok()?);
        word(&mut boot, 1)?; // reserved sectors: this one
        boot.push(2); // FATs
        word(&mut boot, self.root * SECTOR / ENTRY)?;
        word(&mut boot, self.sectors())?;
        boot.push(MEDIA);
        word(&mut boot, self.fat)?;
        word(&mut boot, 1)?; // sectors of a track: no disk has tracks
        word(&mut boot, 1)?; // heads
        boot.extend([0; 8]); // hidden sectors; sectors where 16 bits do not hold them
        boot.extend([0x80, 0, 0x29]); // drive number; what follows is there
        boot.extend(serial.to_le_bytes());
        boot.extend_from_slice(label);
        boot.extend_from_slice(b"FAT12   ");
        boot.resize(SECTOR - 2, 0);
        boot.extend([0x55, 0xaa]);
        Some(boot)
    }

    /// The table: each file's clusters follow one another.
    fn fat(&self, files: &[File<'_>]) -> Vec<u8> {
        let mut table = vec![0; self.fat * SECTOR];
        set(&mut table, 0, 0xf00 | usize::from(MEDIA));
        set(&mut table, 1, LAST);
        for (first, count) in self.places(files) {
            for cluster in first..first + count {
                let last = cluster + 1 == first + count;
                set(&mut table, cluster, if last { LAST } else { cluster + 1 });
            }
        }
        table
    }

    /// Each file's first cluster and how many it has.
    fn places(&self, files: &[File<'_>]) -> Vec<(usize, usize)> {
        let mut next = 2;
        let place = |(_, bytes): &File<'_>| {
            let count = bytes.len().div_ceil(self.cluster());
            let first = next;
            next += count;
            (first, count)
        };
        files.iter().map(place).collect()
    }

    fn root(&self, label: &[u8; 11], files: &[File<'_>]) -> Option<Vec<u8>> {
        const VOLUME: u8 = 0x08;
        const ARCHIVE: u8 = 0x20;
        let mut root = entry(label, VOLUME, 0, 0)?;
        let places = self.places(files);
        for (index, ((name, bytes), (first, count))) in files.iter().zip(places).enumerate() {
            let short = short_name(name, index);
            root.extend(long_name(name, &short)?);
            let first = if count == 0 { 0 } else { first };
            root.extend(entry(&short, ARCHIVE, first, bytes.len())?);
        }
        root.resize(self.root * SECTOR, 0);
        Some(root)
    }
}

/// Writes an entry of 12 bits.
fn set(table: &mut [u8], cluster: usize, value: usize) {
    let at = cluster * 3 / 2;
    let [low, high, ..] = value.to_le_bytes();
    if cluster.is_multiple_of(2) {
        table[at] = low;
        table[at + 1] |= high;
    } else {
        table[at] |= low << 4;
        table[at + 1] = low >> 4 | high << 4;
    }
}

/// A directory's entry.
fn entry(name: &[u8; 11], attributes: u8, first: usize, size: usize) -> Option<Vec<u8>> {
    let mut entry = name.to_vec();
    entry.push(attributes);
    entry.extend([0; 4]); // when it was made
    entry.extend(DATE.to_le_bytes());
    entry.extend(DATE.to_le_bytes()); // when it was read
    entry.extend([0; 4]); // of the cluster's number, what FAT12 does not have; when it was written
    entry.extend(DATE.to_le_bytes());
    entry.extend(u16::try_from(first).ok()?.to_le_bytes());
    entry.extend(u32::try_from(size).ok()?.to_le_bytes());
    Some(entry)
}

/// How many entries hold a long name: 13 characters each.
fn long_entries(name: &str) -> usize {
    name.len().div_ceil(13)
}

/// The entries in front of a file's own, the name's end first.
fn long_name(name: &str, short: &[u8; 11]) -> Option<Vec<u8>> {
    const LONG: u8 = 0x0f;
    const END: u8 = 0x40;
    let sum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut units: Vec<u16> = name.encode_utf16().collect();
    if !units.len().is_multiple_of(13) {
        units.push(0);
        units.resize(units.len().next_multiple_of(13), 0xffff);
    }
    let pieces = u8::try_from(units.len() / 13).ok()?;
    let mut entries = Vec::new();
    for (number, piece) in (1..=pieces).zip(units.chunks(13)).rev() {
        let bytes: Vec<u8> = piece.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        entries.push(if number == pieces { number | END } else { number });
        entries.extend_from_slice(&bytes[..10]);
        entries.extend([LONG, 0, sum]);
        entries.extend_from_slice(&bytes[10..22]);
        entries.extend([0, 0]);
        entries.extend_from_slice(&bytes[22..]);
    }
    Some(entries)
}

/// `META-D~1`: a name for those who know no long ones.
fn short_name(name: &str, index: usize) -> [u8; 11] {
    let letters = name.bytes().filter(u8::is_ascii_alphanumeric).take(6);
    let number = format!("~{}", index + 1);
    padded(letters.map(|b| b.to_ascii_uppercase()).chain(number.into_bytes()))
}

/// With spaces at the end.
fn padded(text: impl Iterator<Item = u8>) -> [u8; 11] {
    let mut padded = [b' '; 11];
    padded.iter_mut().zip(text).for_each(|(to, from)| *to = from);
    padded
}

#[cfg(test)]
mod tests;
