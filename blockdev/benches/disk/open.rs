//! How long does a deep stack take to open, and how much memory to know where everything is?

use std::fs;

use blockdev::{Engine, Op};

use crate::chain::Chain;
use crate::layout::{DISK, mixed};
use crate::measure::{Cost, precise};
use crate::qemu;
use crate::race::{Contender, race};
use crate::raw;
use crate::report::{Bound, Report, Result};

const DEPTH: u64 = 64;
const WITH: &str = "with its owner map";
const WITHOUT: &str = "without";

pub fn measure(rounds: usize) -> Result<Report> {
    let (dir, mut report) = (tempfile::tempdir()?, Report::default());
    let [base, plain] = ["base", "qemu-base"].map(|name| dir.path().join(name));
    raw::create(&base, false)?;
    raw::create(&plain, false)?;
    let chain = Chain::create(dir.path().join("ours"), &base, DEPTH)?;
    let theirs = qemu::create_chain(&dir.path().join("qemu"), &plain, DEPTH)?;
    let theirs = theirs.last().ok_or("a chain has a top")?;
    let owners = chain.spec.owners.as_ref().ok_or("the chain has an owner map")?;
    let open = |_| Cost::of(1, || chain.open().map(drop));
    let contenders = vec![
        Contender::new(WITH, open).twice(),
        Contender::new(WITHOUT, open).after(|| Ok(fs::remove_file(owners)?)),
        Contender::new("QEMU, the whole process", |_| qemu::open(theirs)),
        Contender::new("null (qemu-io --version)", |_| qemu::nothing()),
    ];
    let figure = "open of 64 layers of 64 GiB [ms]";
    race(&mut report, figure, rounds, |cost| cost.us() / 1e3, contenders)?;
    report.goal("open with its owner map, ms", Bound::AtMost(5.0), report.median(figure, WITH));
    report.goal("open without, ms", Bound::AtMost(100.0), report.median(figure, WITHOUT));
    Ok(report)
}

/// Disks on which each piece is in another of eight layers, by the size of the pieces.
pub fn memory(_rounds: usize) -> Result<Report> {
    const PIECES: [(u64, u64, &str); 3] = [
        (1 << 20, 16 << 30, "pieces of 1 MiB"),
        (64 << 10, 4 << 30, "pieces of 64 KiB"),
        (4 << 10, 512 << 20, "pieces of 4 KiB"),
    ];
    let mut report = Report::default();
    for (piece, written, name) in PIECES {
        let per_tib = precise(1 << 40) / precise(written);
        let found = precise(owned(piece, written)?) * per_tib / precise(1 << 20);
        let figure = "bitmap and owners of a TiB [MiB]";
        report.add(figure, name, found, 0.0);
        report.goal(&format!("{name}: MiB for each TiB written"), Bound::AtMost(64.0), found);
    }
    Ok(report)
}

/// Bytes it takes to know who owns `written` bytes in pieces of `piece`, and all of the rest.
fn owned(piece: u64, written: u64) -> Result<u64> {
    const LAYERS: u64 = 8;
    let dir = tempfile::tempdir()?;
    let mut chain = Chain::nothing(dir.path().join("chain"))?;
    chain.grow()?;
    let empty = u64::try_from(chain.open()?.memory())?;
    for layer in 0..LAYERS {
        let mut queue = chain.queue(Engine::Sync, 1, 512)?;
        for index in (0..written / piece).filter(|index| mixed(*index) % LAYERS == layer) {
            // Zeroes are owned, too, and take no room.
            queue.one(Op::Zero(index * piece..(index + 1) * piece))?;
        }
        drop(queue);
        chain.grow()?;
    }
    // What a disk of just this length takes with nothing on it, and what is on it.
    Ok(empty * written / DISK + u64::try_from(chain.open()?.memory())? - empty)
}
