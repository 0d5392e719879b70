//! A plain file and plain system calls: what no disk format can beat.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::layout::{DISK, PIECE, PIECES, piece_at};
use crate::measure::Cost;
use crate::queue::Kind;
use crate::report::Result;

/// Makes a sparse file as long as the disk; with all pieces in it where `filled`.
pub fn create(path: &Path, filled: bool) -> Result<File> {
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    file.set_len(DISK)?;
    let bytes = vec![0x5a; usize::try_from(PIECE)?];
    for piece in (0..PIECES).filter(|_| filled) {
        file.write_all_at(&bytes, piece_at(piece))?;
    }
    file.sync_all()?;
    Ok(file)
}

/// Does `count` operations of `len` bytes, one after the other, the n-th where `at` says.
pub fn run(
    file: &File,
    kind: Kind,
    (count, len): (u64, u64),
    mut at: impl FnMut(u64) -> u64,
) -> Result<Cost> {
    let mut bytes = vec![0x5a; usize::try_from(len)?];
    Cost::of(count, || {
        for index in 0..count {
            match kind {
                Kind::Read => file.read_exact_at(&mut bytes, at(index))?,
                Kind::Write => file.write_all_at(&bytes, at(index))?,
            }
        }
        Ok(())
    })
}
