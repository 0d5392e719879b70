//! A plain file and plain system calls: what no disk format can beat.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::layout::{BLOCK, DISK, PIECE, PIECES, STRIDE, piece_at, pieces_of};
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

/// The pieces of a chain of `depth` deltas as so many sparse files and one for the base: what is left
/// of reading a chain when nobody has to find out which layer a piece is in.
pub struct Split {
    files: Vec<File>,
    /// Of each piece, the file it is in.
    places: Vec<usize>,
}

impl Split {
    /// Makes the files `name`-0 and so on in `dir`.
    pub fn create(dir: &Path, name: &str, depth: u64) -> Result<Split> {
        let bytes = vec![0x5a; usize::try_from(PIECE)?];
        let (mut files, mut places) = (Vec::new(), vec![0; usize::try_from(PIECES)?]);
        for layer in 0..=depth {
            let file = create(&dir.join(format!("{name}-{layer}")), false)?;
            for piece in pieces_of(layer, depth) {
                file.write_all_at(&bytes, piece_at(piece))?;
                places[usize::try_from(piece)?] = files.len();
            }
            files.push(file);
        }
        Ok(Split { files, places })
    }

    /// Reads `count` blocks, one after the other, the n-th where `at` says.
    pub fn read(&self, count: u64, mut at: impl FnMut(u64) -> u64) -> Result<Cost> {
        let mut bytes = vec![0; usize::try_from(BLOCK)?];
        Cost::of(count, || {
            for index in 0..count {
                let at = at(index);
                let file = self.places[usize::try_from(at / STRIDE)?];
                self.files[file].read_exact_at(&mut bytes, at)?;
            }
            Ok(())
        })
    }
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
