//! Reads a delta's header and bitmap, believing nothing.

use std::ops::Range;
use std::path::Path;

use super::format::{COPIES, Defect, Header, MAGIC, SECTOR, SECTOR_LEN, SectorBits, SectorBytes};
use crate::io::Storage;
use crate::{Error, Result};

/// Bitmap sectors read at once.
const CHUNK: u64 = 64 * 1024;
/// How often what looks damaged is read again where its writer may be at it at this moment.
const LOOKS: usize = 16;

/// Reads the header and checks that the file is as long as it says.
///
/// Somebody may be rewriting it, even while others hold the lock to read: what looks damaged or cut
/// off is looked at again, because half of that may have been seen.
pub(crate) fn header(storage: &dyn Storage, path: &Path) -> Result<Header> {
    let mut found = header_now(storage, path);
    for _ in 0..LOOKS {
        if !matches!(found, Err(Error::Damaged { .. } | Error::Truncated { .. })) {
            break;
        }
        found = header_now(storage, path);
    }
    found
}

fn header_now(storage: &dyn Storage, path: &Path) -> Result<Header> {
    let len = storage.len().map_err(Error::read(path, 0))?;
    let [first, second] = COPIES.map(|at| at as u64);
    require_len(len, second + SECTOR, path).or_else(|truncated| {
        // What is there of the magic tells a delta's rest from any other short file.
        let mut magic = MAGIC;
        let start = usize::try_from(len).map_or(magic.len(), |len| len.min(magic.len()));
        storage.read_exact_at(&mut magic[..start], 0).map_err(Error::read(path, 0))?;
        if magic == MAGIC { Err(truncated) } else { Err(Error::NotADelta { path: path.into() }) }
    })?;
    let header = choose(path, copy(storage, path, first)?, copy(storage, path, second)?)?;
    require_len(len, header.file_len(), path)?;
    Ok(header)
}

fn require_len(len: u64, needed: u64, path: &Path) -> Result<()> {
    if len < needed {
        return Err(Error::Truncated { path: path.into(), len, needed });
    }
    Ok(())
}

fn copy(
    storage: &dyn Storage,
    path: &Path,
    at: u64,
) -> Result<std::result::Result<Header, Defect>> {
    let mut bytes: SectorBytes = [0; SECTOR_LEN];
    storage.read_exact_at(&mut bytes, at).map_err(Error::read(path, at))?;
    Ok(Header::decode(&bytes))
}

/// Both copies must be well-formed; the newer one counts.
fn choose(
    path: &Path,
    first: std::result::Result<Header, Defect>,
    second: std::result::Result<Header, Defect>,
) -> Result<Header> {
    use Defect::{Damaged, Newer, NotADelta};
    let damaged = |at: usize, what: &str| Error::Damaged {
        path: path.into(),
        at: at as u64,
        what: what.into(),
    };
    match (first, second) {
        (Ok(first), Ok(second)) if first.generation == second.generation && first != second => {
            Err(damaged(COPIES[1], "the header's copies differ"))
        }
        (Ok(first), Ok(second)) if first.generation < second.generation => Ok(second),
        (Ok(first), Ok(_)) => Ok(first),
        (Err(NotADelta), Err(NotADelta)) => Err(Error::NotADelta { path: path.into() }),
        (Err(Newer(what)), _) | (_, Err(Newer(what))) => {
            Err(Error::Newer { path: path.into(), what })
        }
        (Err(Damaged(what)), _) => Err(damaged(COPIES[0], what)),
        (_, Err(Damaged(what))) => Err(damaged(COPIES[1], what)),
        (Err(NotADelta), _) => Err(damaged(COPIES[0], "the header's magic is gone")),
        (_, Err(NotADelta)) => Err(damaged(COPIES[1], "the header's magic is gone")),
    }
}

/// Calls `visit` with the number and bits of every bitmap sector that owns something, as
/// [`sectors`].
pub(crate) fn bitmap(
    storage: &dyn Storage,
    path: &Path,
    header: &Header,
    unlocked: bool,
    visit: impl FnMut(u64, &SectorBits),
) -> Result<()> {
    sectors(storage, path, header, 0..u64::MAX, unlocked, visit)
}

/// Calls `visit` with the number and bits of each of `wanted` that owns something and is of this
/// disk. Holes are skipped, so that an empty delta of any size costs one system call.
///
/// With `unlocked` somebody may be writing the delta: a sector that looks damaged is read again,
/// because half of a write may have been seen.
pub(crate) fn sectors(
    storage: &dyn Storage,
    path: &Path,
    header: &Header,
    wanted: Range<u64>,
    unlocked: bool,
    mut visit: impl FnMut(u64, &SectorBits),
) -> Result<()> {
    let whole = header.bitmap();
    let place =
        |sector: u64| sector.saturating_mul(SECTOR).saturating_add(whole.start).min(whole.end);
    let area = place(wanted.start)..place(wanted.end);
    let mut buffer = Vec::new();
    let mut at = area.start;
    while let Some(data) = storage.next_data(at).map_err(Error::read(path, at))? {
        at = data.start.max(at) & !(SECTOR - 1);
        let end = data.end.next_multiple_of(SECTOR).min(area.end).min(at + CHUNK);
        if at >= area.end || end <= at {
            break;
        }
        buffer.resize(usize::try_from(end - at).expect("at most CHUNK"), 0);
        storage.read_exact_at(&mut buffer, at).map_err(Error::read(path, at))?;
        for bytes in buffer.as_chunks::<SECTOR_LEN>().0 {
            let index = (at - whole.start) / SECTOR;
            if let Some(bits) = sector(storage, path, header, index, *bytes, unlocked)? {
                visit(index, &bits);
            }
            at += SECTOR;
        }
    }
    Ok(())
}

fn sector(
    storage: &dyn Storage,
    path: &Path,
    header: &Header,
    index: u64,
    mut bytes: SectorBytes,
    unlocked: bool,
) -> Result<Option<SectorBits>> {
    let at = header.sector_at(index);
    let mut decoded = header.decode_sector(index, &bytes);
    for _ in 0..if unlocked { LOOKS } else { 0 } {
        if decoded.is_ok() {
            break;
        }
        storage.read_exact_at(&mut bytes, at).map_err(Error::read(path, at))?;
        // The header may have been rewritten since, and the sector after it.
        decoded = self::header(storage, path)?.decode_sector(index, &bytes);
    }
    decoded.map_err(|what| Error::Damaged { path: path.into(), at, what: what.into() })
}
