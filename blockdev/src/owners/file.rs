//! The owner map's file. docs/owner-map.md has every byte.
//!
//! A file that is not exactly right is no owner map: it is built again, so nothing here says why.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::chunk::{Chunk, Grid, Run};
use super::{CHUNK, Owner, Owners};
use crate::delta::{Frozen, SECTOR_BLOCKS};
use crate::open::unlocked;
#[cfg(test)]
use crate::seeded::{Bug, seeded};

const MAGIC: [u8; 8] = *b"OFFOWNER";
const VERSION: u32 = 2;

/// What a map is of: these layers in this order, as they are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    layers: u32,
    blocks: u64,
    digest: [u8; 32],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    version: U32,
    layers: U32,
    blocks: U64,
    digest: [u8; 32],
    zero: U32,
    crc: U32,
}

/// How a chunk begins.
const ONE: u8 = 0;
const RUNS: u8 = 1;
const GRID: u8 = 2;

/// Of a chunk in the largest form there is.
const LARGEST: u64 = 5 + 2 * SECTOR_BLOCKS;

impl Key {
    /// The key of these layers, from the bottom up, for a disk of `blocks` blocks.
    pub(crate) fn of(layers: &[Frozen], blocks: u64) -> Key {
        let mut hasher = blake3::Hasher::new();
        for layer in layers {
            let header = layer.header();
            hasher.update(header.uuid.as_bytes());
            hasher.update(&header.epoch.to_le_bytes());
            hasher.update(&header.generation.to_le_bytes());
        }
        let layers = u32::try_from(layers.len()).unwrap_or(u32::MAX);
        Key { layers, blocks, digest: hasher.finalize().into() }
    }
}

/// The map in `path`, if it is there, whole, and of `key`.
pub(crate) fn load(path: &Path, key: &Key) -> Option<Owners> {
    let mut file = unlocked(path).ok()?;
    // As much as the largest map of so many blocks, so that no file makes us read more.
    let most = size_of::<RawHeader>() as u64 + key.chunks() * LARGEST;
    let mut bytes = Vec::new();
    let len = file.metadata().ok()?.len();
    if len > most || bytes.try_reserve_exact(usize::try_from(len).ok()?).is_err() {
        return None;
    }
    io::Read::read_to_end(&mut io::Read::take(&mut file, most), &mut bytes).ok()?;
    decode(&bytes, key)
}

/// Writes the map to `path`, in one step. Nobody depends on it, so nothing is synced.
///
/// # Errors
/// As the system says.
pub(crate) fn save(path: &Path, key: &Key, owners: &Owners) -> io::Result<()> {
    let part = path.with_extension(format!("{}", std::process::id()));
    let written =
        fs::File::create_new(&part).and_then(|mut file| file.write_all(&encode(key, owners)));
    let saved = written.and_then(|()| fs::rename(&part, path));
    if saved.is_err() {
        // Ours or nobody's; the first error is the one to tell.
        let _ = fs::remove_file(&part);
    }
    saved
}

impl Key {
    #[cfg(test)]
    pub(super) fn test(layers: u32, blocks: u64) -> Key {
        Key { layers, blocks, digest: [7; 32] }
    }

    #[cfg(any(test, feature = "test-support"))]
    pub(super) fn layers_and_blocks(&self) -> (u32, u64) {
        (self.layers, self.blocks)
    }

    fn chunks(&self) -> u64 {
        self.blocks.div_ceil(SECTOR_BLOCKS)
    }
}

pub(crate) fn encode(key: &Key, owners: &Owners) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in &owners.chunks {
        chunk.encode(&mut bytes);
    }
    let mut header = RawHeader {
        magic: MAGIC,
        version: VERSION.into(),
        layers: key.layers.into(),
        blocks: key.blocks.into(),
        digest: key.digest,
        zero: 0.into(),
        crc: 0.into(),
    };
    header.crc = crc(&header, &bytes).into();
    [header.as_bytes(), &bytes].concat()
}

/// Of everything but itself.
fn crc(header: &RawHeader, chunks: &[u8]) -> u32 {
    let before = &header.as_bytes()[..size_of::<RawHeader>() - 4];
    crc32c::crc32c_append(crc32c::crc32c(before), chunks)
}

/// The key that the map in `bytes` claims to be of. Makes its CRC right.
#[cfg(any(test, feature = "test-support"))]
pub(super) fn mend(bytes: &mut [u8]) -> Option<Key> {
    let (header, chunks) = RawHeader::mut_from_prefix(bytes).ok()?;
    header.crc = crc(header, chunks).into();
    Some(Key { layers: header.layers.get(), blocks: header.blocks.get(), digest: header.digest })
}

/// A map of `key`, or nothing.
pub(crate) fn decode(bytes: &[u8], key: &Key) -> Option<Owners> {
    let (header, mut rest) = RawHeader::ref_from_prefix(bytes).ok()?;
    let found =
        Key { layers: header.layers.get(), blocks: header.blocks.get(), digest: header.digest };
    let known = header.magic == MAGIC && header.version.get() == VERSION;
    #[cfg(test)]
    let found = if seeded(Bug::StaleOwners) { *key } else { found };
    if !known || found != *key || header.crc.get() != crc(header, rest) {
        return None;
    }
    let mut chunks = Vec::new();
    chunks.try_reserve_exact(usize::try_from(key.chunks()).ok()?).ok()?;
    for _ in 0..key.chunks() {
        chunks.push(Chunk::decode(&mut rest, key.layers)?);
    }
    rest.is_empty().then_some(Owners { chunks })
}

impl Chunk {
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Chunk::One(owner) => {
                bytes.push(ONE);
                bytes.extend(owner.to_le_bytes());
            }
            Chunk::Runs(runs) => {
                bytes.push(RUNS);
                bytes.extend(u16::try_from(runs.len()).expect("a chunk is short").to_le_bytes());
                for run in runs {
                    bytes.extend(run.end.to_le_bytes());
                    bytes.extend(run.owner.to_le_bytes());
                }
            }
            Chunk::Grid(grid) => {
                bytes.extend([GRID, grid.shift, grid.bits]);
                bytes.extend(grid.palette.to_le_bytes());
                bytes.extend(grid.words.iter().flat_map(|word| word.to_le_bytes()));
            }
        }
    }

    /// Takes a chunk from the start of `bytes`, all of whose owners are at most `layers`.
    fn decode(bytes: &mut &[u8], layers: u32) -> Option<Chunk> {
        match take::<1>(bytes)? {
            [ONE] => word(bytes).filter(known(layers)).map(Chunk::One),
            [RUNS] => runs(bytes)
                .filter(|runs| runs.iter().all(|run| known(layers)(&run.owner)))
                .map(Chunk::Runs),
            [GRID] => grid(bytes, layers).map(Chunk::Grid),
            _ => None,
        }
    }
}

/// Whether an owner is one of so many layers, or the base.
fn known(layers: u32) -> impl Fn(&Owner) -> bool {
    move |owner| u32::from(*owner) <= layers
}

fn runs(bytes: &mut &[u8]) -> Option<Box<[Run]>> {
    let count = word(bytes)?;
    let run = |_| Some(Run { end: word(bytes)?, owner: word(bytes)? });
    let runs: Box<[Run]> = (0..count).map(run).collect::<Option<_>>()?;
    let whole = runs.last().is_some_and(|run| usize::from(run.end) == CHUNK);
    let rising = runs.is_sorted_by(|a, b| a.end < b.end) && runs.first()?.end > 0;
    (whole && rising).then_some(runs)
}

fn grid(bytes: &mut &[u8], layers: u32) -> Option<Grid> {
    let ([shift, bits], palette) = (take(bytes)?, word(bytes)?);
    let owners = usize::from(palette);
    let fits = match bits {
        1 | 2 | 4 | 8 => (1..=1 << bits).contains(&owners),
        16 => owners == 0,
        _ => false,
    };
    if !fits || !CHUNK.is_multiple_of(1usize.checked_shl(shift.into())?) {
        return None;
    }
    let count = Grid::words(shift.into(), bits, owners);
    let words = (0..count).map(|_| word(bytes)).collect::<Option<Box<[u16]>>>()?;
    let grid = Grid { shift, bits, palette, words };
    let mut numbers = (0..CHUNK >> shift).map(|grain| grid.number(grain));
    let right = if owners == 0 {
        numbers.all(|owner| known(layers)(&owner))
    } else {
        numbers.all(|number| number < palette) && grid.words[..owners].iter().all(known(layers))
    };
    right.then_some(grid)
}

fn take<const LEN: usize>(bytes: &mut &[u8]) -> Option<[u8; LEN]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

fn word(bytes: &mut &[u8]) -> Option<u16> {
    take(bytes).map(u16::from_le_bytes)
}
