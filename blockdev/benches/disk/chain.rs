//! A chain of our layers, made in a directory of its own.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use blockdev::base::{Base, Identity};
use blockdev::delta::{self, Parent};
use blockdev::{Engine, Op, Stack, StackSpec};
use uuid::Uuid;

use crate::layout::{DISK, PIECE, piece_at, pieces_of};
use crate::queue::{Kind, Queue};
use crate::report::Result;

/// The files of a chain.
pub struct Chain {
    pub spec: StackSpec,
    dir: PathBuf,
}

impl Chain {
    /// `depth` deltas over the base in `base`, each with its share of the pieces.
    pub fn create(dir: PathBuf, base: &Path, depth: u64) -> Result<Chain> {
        let mut chain = Chain::empty(dir, base)?;
        for layer in 1..=depth {
            if layer > 1 {
                chain.grow()?;
            }
            chain.fill(pieces_of(layer, depth))?;
        }
        Ok(chain)
    }

    /// One delta with nothing in it over the base in `base`.
    pub fn empty(dir: PathBuf, base: &Path) -> Result<Chain> {
        let base = known(base)?;
        let parent = Parent::base(&base.identity)?;
        Chain::over(Some(base), &parent, dir)
    }

    /// One delta with nothing in it over nothing.
    pub fn nothing(dir: PathBuf) -> Result<Chain> {
        Chain::over(None, &Parent::nothing(), dir)
    }

    fn over(base: Option<Base>, parent: &Parent, dir: PathBuf) -> Result<Chain> {
        std::fs::create_dir(&dir)?;
        let delta = dir.join("delta-1");
        delta::create(&delta, DISK, parent)?;
        let owners = Some(dir.join("owners"));
        let delta = Some(delta);
        Ok(Chain { spec: StackSpec { base, owners, delta, ..StackSpec::default() }, dir })
    }

    /// Freezes the top and makes a delta on it.
    pub fn grow(&mut self) -> Result<()> {
        if let Some(top) = self.spec.delta.take() {
            delta::freeze(&top)?;
            let parent = delta::inspect(&top)?.as_parent();
            self.spec.frozen.push(top);
            let new = self.dir.join(format!("delta-{}", self.spec.frozen.len() + 1));
            delta::create(&new, DISK, &parent)?;
            self.spec.delta = Some(new);
        }
        Ok(())
    }

    fn fill(&self, pieces: impl Iterator<Item = u64>) -> Result<()> {
        let pieces: Vec<u64> = pieces.collect();
        let mut queue = self.queue(Engine::Sync, 1, PIECE)?;
        let at = |index: u64| piece_at(usize::try_from(index).map_or(0, |index| pieces[index]));
        queue.run(Kind::Write, pieces.len() as u64, at)?;
        queue.one(Op::Flush)
    }

    /// Opens it.
    pub fn open(&self) -> Result<Stack> {
        Ok(Stack::open(&self.spec)?)
    }

    /// Opens it for `depth` operations of `len` bytes in flight.
    pub fn queue(&self, engine: Engine, depth: usize, len: u64) -> Result<Queue> {
        Queue::new(self.open()?.disk(engine)?, depth, len)
    }

    /// All its files but the base.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.spec.frozen.iter().chain(&self.spec.delta)
    }
}

/// The file at `path` as a base. Nobody compares digests here, so it is spared reading it all.
pub fn known(path: &Path) -> Result<Base> {
    let metadata = File::open(path)?.metadata()?;
    let identity = Identity {
        uuid: Uuid::nil(),
        size: metadata.len(),
        digest: "0".repeat(64),
        mtime_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
        inode: metadata.ino(),
    };
    Ok(Base { path: path.into(), identity })
}
