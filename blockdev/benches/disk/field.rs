//! The same data as a raw file, as chains of ours and as QEMU's.

use std::fs::File;
use std::path::{Path, PathBuf};

use blockdev::{Engine, Stack};
use rustix::fs::{Advice, fadvise};
use tempfile::TempDir;

use crate::chain::Chain;
use crate::layout::BLOCK;
use crate::qemu;
use crate::queue::Queue;
use crate::raw::{self, Split};
use crate::report::Result;

/// Chains of several depths over one base.
pub struct Field {
    dir: TempDir,
    /// All pieces in a file; QEMU's base, too. Ours is another one, because QEMU takes any lock for
    /// one of its own.
    pub raw: File,
    /// The same as the deepest chain has it, in as many files.
    pub split: Split,
    pub chains: Vec<Depth>,
    null: Stack,
}

/// A chain of so many deltas, on both sides.
pub struct Depth {
    pub depth: u64,
    stack: Stack,
    ours: Chain,
    theirs: Vec<PathBuf>,
}

impl Field {
    pub fn new(depths: &[u64]) -> Result<Field> {
        let dir = tempfile::tempdir()?;
        let [base, plain] = ["base", "raw"].map(|name| dir.path().join(name));
        raw::create(&base, true)?;
        let raw = raw::create(&plain, true)?;
        let split = Split::create(dir.path(), "split", depths.iter().copied().max().unwrap_or(0))?;
        let chain = |&depth: &u64| {
            let ours = Chain::create(dir.path().join(format!("{depth}")), &base, depth)?;
            let theirs =
                qemu::create_chain(&dir.path().join(format!("qemu-{depth}")), &plain, depth)?;
            Ok(Depth { depth, stack: ours.open()?, ours, theirs })
        };
        let chains = depths.iter().map(chain).collect::<Result<_>>()?;
        let null = Chain::nothing(dir.path().join("null"))?.open()?;
        rustix::fs::sync();
        Ok(Field { dir, raw, split, chains, null })
    }

    /// A disk that is one hole, for `depth` reads in flight: what it takes to move no bytes.
    pub fn null_queue(&self, depth: usize) -> Result<Queue> {
        Queue::new(self.null.disk(Engine::Uring)?, depth, BLOCK)
    }

    /// Takes all files' data out of the page cache.
    pub fn cool(&self) -> Result<()> {
        let layers = self.chains.iter().flat_map(|chain| chain.ours.files().chain(&chain.theirs));
        let bases = ["base", "raw"].map(|name| self.dir.path().join(name));
        for path in layers.chain(&bases) {
            fadvise(&File::open(path)?, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }
}

impl Depth {
    /// Ours, for `depth` reads in flight.
    pub fn queue(&self, engine: Engine, depth: usize) -> Result<Queue> {
        Queue::new(self.stack.disk(engine)?, depth, BLOCK)
    }

    /// QEMU's image.
    pub fn image(&self) -> (&Path, &str) {
        (self.theirs.last().map_or(Path::new(""), PathBuf::as_path), "qcow2")
    }
}
