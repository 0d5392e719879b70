//! What do random 4 KiB writes to a fresh clone cost, in time and in room?

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use blockdev::Engine;
use tempfile::TempDir;

use crate::chain::Chain;
use crate::layout::{BLOCK, DISK, STEP, STRIDE, scattered};
use crate::measure::{Cost, precise};
use crate::qemu::{self, Work};
use crate::queue::Kind;
use crate::race::{Contender, race};
use crate::raw;
use crate::report::{Bound, Report, Result};

const COUNT: u64 = 16384;
/// Never the same block twice.
const SCATTER: u64 = STEP * STRIDE + BLOCK;

/// A base of nothing but a hole: the writes are what is measured.
pub struct Bases {
    pub dir: TempDir,
    ours: PathBuf,
    theirs: PathBuf,
}

impl Bases {
    pub fn new() -> Result<Bases> {
        let dir = tempfile::tempdir()?;
        let [ours, theirs] = ["base", "qemu-base"].map(|name| dir.path().join(name));
        raw::create(&ours, false)?;
        raw::create(&theirs, false)?;
        Ok(Bases { dir, ours, theirs })
    }

    /// A new clone of ours, in a directory that goes with it.
    pub fn clone(&self) -> Result<(TempDir, Chain)> {
        let dir = tempfile::tempdir_in(&self.dir)?;
        let chain = Chain::empty(dir.path().join("clone"), &self.ours)?;
        Ok((dir, chain))
    }

    /// A new clone of QEMU's.
    pub fn overlay(&self) -> Result<(TempDir, PathBuf)> {
        let dir = tempfile::tempdir_in(&self.dir)?;
        let overlay = dir.path().join("overlay");
        qemu::create(&overlay, (&self.theirs, "raw"))?;
        Ok((dir, overlay))
    }

    /// A new sparse file.
    pub fn file(&self) -> Result<File> {
        let dir = tempfile::tempdir_in(&self.dir)?;
        raw::create(&dir.path().join("raw"), false)
    }
}

pub fn measure(rounds: usize) -> Result<Report> {
    let (bases, mut report) = (Bases::new()?, Report::default());
    for depth in [1, 16] {
        let figure = &format!("4 KiB writes to a fresh clone, {depth} in flight [kIOPS]");
        race(&mut report, figure, rounds, Cost::kiops, contenders(&bases, depth))?;
        let what = format!("{depth} in flight: writes by QEMU's");
        report.goal(&what, Bound::AtLeast(2.0), report.ratio(figure, "uring", "QEMU"));
    }
    let figure = "bytes on disk per byte written";
    let (_dir, chain) = bases.clone()?;
    chain.queue(Engine::Uring, 16, BLOCK)?.run(Kind::Write, COUNT, scattered(SCATTER, DISK))?;
    let room = room(chain.files().next().ok_or("a clone has a delta")?)?;
    report.add(figure, "uring", room, 0.0);
    let (_dir, overlay) = bases.overlay()?;
    qemu::whole((&overlay, "qcow2"), work(1))?;
    report.add(figure, "QEMU", self::room(&overlay)?, 0.0);
    report.goal(figure, Bound::AtMost(1.1), room);
    Ok(report)
}

fn contenders(bases: &Bases, depth: usize) -> Vec<Contender<'_>> {
    let raw = || raw::run(&bases.file()?, Kind::Write, (COUNT, BLOCK), scattered(SCATTER, DISK));
    let ours = move |engine| {
        let (_dir, chain) = bases.clone()?;
        chain.queue(engine, depth, BLOCK)?.run(Kind::Write, COUNT, scattered(SCATTER, DISK))
    };
    let qemu = move || {
        let (_dir, overlay) = bases.overlay()?;
        qemu::whole((&overlay, "qcow2"), work(depth))
    };
    vec![
        Contender::new("raw file with holes", move |_| raw()),
        Contender::new("uring", move |_| ours(Engine::Uring)),
        Contender::new("sync", move |_| ours(Engine::Sync)),
        Contender::new("QEMU", move |_| qemu()),
    ]
}

fn work(depth: usize) -> Work {
    Work { step: SCATTER, ..Work::stepped(Kind::Write, COUNT, depth, 0) }
}

/// Bytes on disk for each that was written.
fn room(path: &Path) -> Result<f64> {
    let file = File::open(path)?;
    file.sync_all()?;
    Ok(precise(file.metadata()?.blocks() * 512) / precise(COUNT * BLOCK))
}
