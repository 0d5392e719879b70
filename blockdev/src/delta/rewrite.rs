//! Rewriting a delta's header: the one moment at which an operation on a chain takes effect.
//! docs/delta-format.md, Rewriting.

use std::path::Path;

use super::format::{COPIES, Header, MAX_GENERATION, SECTOR_LEN, SectorBytes};
use super::load;
use crate::io::Storage;
use crate::{Error, Result};

/// Changes the header of the delta in `storage`, and returns the new one. After a crash it is the
/// old or the new one. Whoever calls this holds the delta's lock.
///
/// # Errors
/// The header is damaged, or the storage fails; then it is the old or the new one.
pub(crate) fn rewrite(
    storage: &dyn Storage,
    path: &Path,
    change: impl FnOnce(&mut Header),
) -> Result<Header> {
    let header = load::header(storage, path)?;
    // What an earlier rewrite left undone comes first: two copies never differ by two generations.
    write(storage, path, &header)?;
    let mut next = header.clone();
    change(&mut next);
    if next != header {
        if header.generation == MAX_GENERATION {
            let what = "its header has been rewritten as often as can be".into();
            return Err(Error::Damaged { path: path.into(), at: 0, what });
        }
        next.generation += 1;
        write(storage, path, &next)?;
    }
    Ok(next)
}

/// Brings each copy that is another one to `header`, one after the other.
fn write(storage: &dyn Storage, path: &Path, header: &Header) -> Result<()> {
    let wanted = header.encode();
    for at in COPIES.map(|at| at as u64) {
        let mut found: SectorBytes = [0; SECTOR_LEN];
        storage.read_exact_at(&mut found, at).map_err(Error::read(path, at))?;
        if found != wanted {
            storage.write_all_at(&wanted, at).map_err(Error::write(path, at))?;
            storage.sync().map_err(Error::sync(path))?;
        }
    }
    Ok(())
}
