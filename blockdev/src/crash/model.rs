//! What each sector of a disk may hold.
//!
//! The disk spans two bitmap sectors, and only its ends are looked at: sectors are numbered as if
//! there were nothing in between.
//!
//! ```text
//!   ours   0     8     16    24    32 │ 32    40  42  48    56
//!   block  │  0  │  1  │  2  │ ...  │4031│4032 │4033 │4034 │
//!          ◄─── base ──►                     ◄─┘ the disk ends here when it is new
//! ```

use std::ops::Range;

/// Sectors of blocks 0 to 2.
const LOW: usize = 24;
/// The sector of the disk that our sector [`LOW`] is: the last block of the first bitmap sector.
const HIGH: u64 = 4031 * 8;
/// As many as are ever looked at: a disk that has grown as far as it may.
pub(super) const SECTORS: usize = 56;
/// The size of a new disk: two sectors of its last block.
pub(super) const NEW_SIZE: usize = 42;
/// Two blocks and a part that is no whole number of sectors.
pub(super) const BASE_LEN: usize = 2 * 4096 + 700;

/// A block and a part that is no whole number of sectors: another base.
const OTHER_LEN: usize = 4096 + 300;

/// What a sector holds: a number repeated; 0 are zeroes.
pub(super) type Content = u32;
/// What lies under bits that are not set.
pub(super) const JUNK: Content = 0x6a6a_6a6a;
/// The base's last sector, which is partly beyond its end.
const BASE_END: Content = 0xbbbb_bbbb;
/// Nothing anybody has written.
pub(super) const TORN: Content = u32::MAX;

/// Byte `sector * 512` of ours, on the disk.
fn start(sector: usize) -> u64 {
    let sector = sector as u64;
    512 * if sector < LOW as u64 { sector } else { sector - LOW as u64 + HIGH }
}

/// The bytes of the disk that our sectors are.
pub(super) fn bytes(sectors: &Range<usize>) -> Range<u64> {
    start(sectors.start)..start(sectors.end - 1) + 512
}

/// The size in bytes of a disk of so many of our sectors.
pub(super) fn size(sectors: usize) -> u64 {
    start(sectors - 1) + 512
}

/// Our sectors of a disk of `size` bytes.
pub(super) fn sectors(size: u64) -> usize {
    LOW + ((size / 512).saturating_sub(HIGH)) as usize
}

/// Our sectors in runs that are one piece on the disk.
pub(super) fn windows(size: usize) -> [Range<usize>; 2] {
    [0..LOW, LOW..size]
}

/// The base's bytes.
pub(super) fn base() -> Vec<u8> {
    numbered(0x1000, BASE_LEN)
}

/// Those of another, shorter one, of which the second sector is the same.
pub(super) fn other_base() -> Vec<u8> {
    let mut bytes = numbered(0x2000, OTHER_LEN);
    bytes[512..1024].copy_from_slice(&base()[512..1024]);
    bytes
}

/// So many bytes of sectors that hold numbers from `first` on.
fn numbered(first: Content, len: usize) -> Vec<u8> {
    let whole = len.div_ceil(512) as Content;
    let mut bytes: Vec<u8> = (first..first + whole).flat_map(expand).collect();
    bytes.truncate(len);
    bytes
}

/// The bytes of a sector that holds `content`.
pub(super) fn expand(content: Content) -> Vec<u8> {
    content.to_le_bytes().repeat(128)
}

/// What a sector of these bytes holds.
pub(super) fn content(bytes: &[u8; 512]) -> Content {
    let words = bytes.as_chunks::<4>().0;
    if words.iter().all(|word| *word == words[0]) {
        return Content::from_le_bytes(words[0]);
    }
    let end = BASE_LEN / 512;
    let partial = &base()[end * 512..];
    let rest = &bytes[partial.len()..];
    if bytes.starts_with(partial) && rest.iter().all(|&byte| byte == 0) { BASE_END } else { TORN }
}

/// What an untouched disk holds.
pub(super) fn untouched() -> Vec<Content> {
    let of = |sector| match sector {
        sector if sector < BASE_LEN / 512 => sector as Content + 0x1000,
        sector if sector == BASE_LEN / 512 => BASE_END,
        _ => 0,
    };
    (0..SECTORS).map(of).collect()
}

/// A disk as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) size: usize,
    pub(super) sectors: Vec<Content>,
}

/// What a crash may leave of a disk.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// Sizes in our sectors.
    sizes: Vec<usize>,
    /// Contents of sectors, in the order they were written.
    legal: Vec<Legal>,
    written: u32,
}

#[derive(Clone, Copy, Debug)]
struct Legal {
    sector: u8,
    /// Which write it was.
    number: u32,
    content: Content,
}

/// A flush that has begun: covers the writes up to a number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flushing(u32);

impl Model {
    /// Exactly what was found.
    pub(super) fn of(found: &Found) -> Model {
        let legal = (0u8..).zip(&found.sectors);
        let legal = legal.map(|(sector, &content)| Legal { sector, number: 0, content }).collect();
        Model { sizes: vec![found.size], legal, written: 0 }
    }

    /// From now on these sectors may hold `content`.
    pub(super) fn write(&mut self, sectors: Range<usize>, content: Content) {
        self.written += 1;
        let number = self.written;
        let sectors = sectors.map(|sector| sector as u8);
        self.legal.extend(sectors.map(|sector| Legal { sector, number, content }));
    }

    pub(super) fn begin_flush(&self) -> Flushing {
        Flushing(self.written)
    }

    /// Of what had been written when the flush began only the last is legal.
    pub(super) fn end_flush(&mut self, flushing: Flushing) {
        let mut last = [0; SECTORS];
        let before = self.legal.iter().filter(|legal| legal.number <= flushing.0);
        for legal in before {
            let last = &mut last[usize::from(legal.sector)];
            *last = legal.number.max(*last);
        }
        self.legal.retain(|legal| legal.number >= last[usize::from(legal.sector)]);
    }

    /// The disk may have `size` too. What is new are zeroes.
    pub(super) fn may_have_size(&mut self, size: usize) {
        let old = self.size();
        self.sizes.push(size);
        if old < size {
            self.legal.retain(|legal| usize::from(legal.sector) < old);
            self.write(old..size, 0);
        }
    }

    /// The disk has the last size that was said, and nothing else is behind it than zeroes.
    pub(super) fn has_size(&mut self) {
        self.sizes.drain(..self.sizes.len() - 1);
    }

    pub(super) fn size(&self) -> usize {
        self.sizes[self.sizes.len() - 1]
    }

    /// What the disk holds now.
    pub(super) fn now(&self) -> Found {
        let mut sectors = vec![TORN; SECTORS];
        for legal in &self.legal {
            sectors[usize::from(legal.sector)] = legal.content;
        }
        Found { size: self.size(), sectors }
    }

    /// What is wrong with `found`.
    pub(super) fn check(&self, found: &Found) -> Result<(), String> {
        if !self.sizes.contains(&found.size) {
            return Err(format!("the size is {}, not one of {:?}", found.size, self.sizes));
        }
        let mut matches = [false; SECTORS];
        for legal in &self.legal {
            let sector = usize::from(legal.sector);
            matches[sector] |= found.sectors[sector] == legal.content;
        }
        match matches[..found.size].iter().position(|matches| !matches) {
            None => Ok(()),
            Some(at) => {
                let legal = self.legal.iter().filter(|legal| usize::from(legal.sector) == at);
                let legal: Vec<_> = legal.map(|legal| legal.content).collect();
                Err(format!("sector {at} holds {:#x}, legal are {legal:x?}", found.sectors[at]))
            }
        }
    }
}
