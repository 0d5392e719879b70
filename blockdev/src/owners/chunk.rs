//! The owners of as many blocks as a bitmap sector speaks of, in little memory.

use super::{CHUNK, Owner, build};
use crate::delta::SectorBits;

/// Who owns each of [`CHUNK`] blocks, in the smallest of these forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// All the same.
    One(Owner),
    /// Few changes: the last run ends with the chunk.
    Runs(Box<[Run]>),
    /// Many changes.
    Grid(Grid),
}

/// Blocks in a row with one owner, from where the run before ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) end: u16,
    pub(super) owner: Owner,
}

/// A number for each *grain*: `1 << shift` blocks, none of which is another's than the rest.
///
/// Numbers have 1, 2, 4, 8 or 16 bits and lie in words from the low bits up. Those of less than 16
/// bits say which of the palette's owners it is; those of 16 are owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) shift: u8,
    pub(super) bits: u8,
    /// Owners at the start of `words`.
    pub(super) palette: u16,
    /// The palette, and then the numbers.
    pub(super) words: Box<[u16]>,
}

impl Chunk {
    /// The smallest form of `owners`.
    pub(super) fn of(owners: &[Owner; CHUNK]) -> Chunk {
        let count = owners.chunk_by(|a, b| a == b).count();
        if count == 1 {
            return Chunk::One(owners[0]);
        }
        let (mut end, mut ends) = (0, CHUNK);
        let run = |run: &[Owner]| {
            end += run.len();
            ends |= end;
            Run { end: u16::try_from(end).expect("a chunk is shorter"), owner: run[0] }
        };
        let runs: Box<[Run]> = owners.chunk_by(|a, b| a == b).map(run).collect();
        let shift = ends.trailing_zeros();
        let palette = palette(&runs);
        let bits = bits(palette.len());
        if size_of_val(&runs[..]) <= 2 * Grid::words(shift, bits, palette.len()) {
            return Chunk::Runs(runs);
        }
        Chunk::Grid(Grid::new(owners, shift, bits, &palette))
    }

    /// The chunk with `bits` given to `owner`.
    pub(super) fn under(&self, bits: &SectorBits, owner: Owner) -> Chunk {
        if bits.iter().all(|&word| word == 0) {
            return self.clone();
        }
        let mut owners = self.expanded();
        build::paint(&mut owners, bits, owner);
        Chunk::of(&owners)
    }

    fn expanded(&self) -> [Owner; CHUNK] {
        let mut owners = [0; CHUNK];
        let mut at = 0;
        while at < CHUNK {
            let (owner, count) = self.run(at..CHUNK);
            owners[at..at + count].fill(owner);
            at += count;
        }
        owners
    }

    /// Who owns the first of `blocks`, and how many from there on have the same owner; perhaps not
    /// all that have.
    pub(super) fn run(&self, blocks: std::ops::Range<usize>) -> (Owner, usize) {
        match self {
            Chunk::One(owner) => (*owner, blocks.len()),
            Chunk::Runs(runs) => {
                let run = runs[runs.partition_point(|run| usize::from(run.end) <= blocks.start)];
                (run.owner, usize::from(run.end).min(blocks.end) - blocks.start)
            }
            Chunk::Grid(grid) => {
                let (owner, end) = grid.run(blocks.start, blocks.end);
                (owner, end.min(blocks.end) - blocks.start)
            }
        }
    }

    /// Bytes of memory it takes beside itself.
    pub(super) fn memory(&self) -> usize {
        match self {
            Chunk::One(_) => 0,
            Chunk::Runs(runs) => size_of_val(&runs[..]),
            Chunk::Grid(grid) => size_of_val(&grid.words[..]),
        }
    }
}

impl Grid {
    /// How many words it has with so many owners in its palette.
    pub(super) fn words(shift: u32, bits: u8, palette: usize) -> usize {
        palette + ((CHUNK >> shift) * usize::from(bits)).div_ceil(16)
    }

    fn new(owners: &[Owner; CHUNK], shift: u32, bits: u8, palette: &[Owner]) -> Grid {
        let mut words = vec![0; Grid::words(shift, bits, palette.len())];
        words[..palette.len()].copy_from_slice(palette);
        for (grain, owner) in owners.iter().step_by(1 << shift).enumerate() {
            let known = palette.iter().position(|known| known == owner);
            let number = known.map_or(*owner, |index| u16::try_from(index).expect("it is short"));
            let at = grain * usize::from(bits);
            words[palette.len() + at / 16] |= number << (at % 16);
        }
        let palette = u16::try_from(palette.len()).expect("it is short");
        let shift = u8::try_from(shift).expect("a chunk is short");
        Grid { shift, bits, palette, words: words.into() }
    }

    /// The number of a grain.
    pub(super) fn number(&self, grain: usize) -> u16 {
        let at = grain * usize::from(self.bits);
        let word = self.words[usize::from(self.palette) + at / 16];
        word >> (at % 16) & (u16::MAX >> (16 - self.bits))
    }

    /// The owner of block `start`, and where the grains end that are alike; `end` or beyond where
    /// all are.
    fn run(&self, start: usize, end: usize) -> (Owner, usize) {
        let mut grain = start >> self.shift;
        let number = self.number(grain);
        grain += 1;
        while grain << self.shift < end && self.number(grain) == number {
            grain += 1;
        }
        let owner = if self.palette == 0 { number } else { self.words[usize::from(number)] };
        (owner, grain << self.shift)
    }
}

/// The owners of `runs`, each once; none where they are too many for a palette.
fn palette(runs: &[Run]) -> Vec<Owner> {
    let mut palette = Vec::new();
    for run in runs {
        if !palette.contains(&run.owner) {
            palette.push(run.owner);
        }
        if palette.len() > 1 << 8 {
            return Vec::new();
        }
    }
    palette
}

/// How many bits tell which of a palette's owners it is.
fn bits(palette: usize) -> u8 {
    match palette {
        0 => 16,
        1..=2 => 1,
        3..=4 => 2,
        5..=16 => 4,
        _ => 8,
    }
}
