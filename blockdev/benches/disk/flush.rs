//! What does it cost to write 4 KiB and make them durable, where there was nothing and again?

use blockdev::Engine;

use crate::layout::{BLOCK, DISK, STEP, STRIDE, scattered};
use crate::measure::Cost;
use crate::qemu::{self, Work};
use crate::queue::Kind;
use crate::race::{Contender, race};
use crate::report::{Bound, Report, Result};
use crate::writes::Bases;

const COUNT: u64 = 200;
const STEP_BYTES: u64 = STEP * STRIDE + BLOCK;
const RAW: &str = "raw file, fdatasync";

/// New blocks in one race, the same blocks again in the other.
pub fn measure(rounds: usize) -> Result<Report> {
    let (bases, mut report) = (Bases::new()?, Report::default());
    let figures = ["write and flush a new block [us]", "write and flush an owned block [us]"];
    for (figure, again) in figures.into_iter().zip([false, true]) {
        race(&mut report, figure, rounds, Cost::us, contenders(&bases, again))?;
    }
    for engine in ["uring", "sync"] {
        let [new, owned] = figures.map(|figure| report.ratio(figure, engine, RAW));
        report.goal(&format!("{engine}: a new block by a raw file's"), Bound::AtMost(1.5), new);
        report.goal(
            &format!("{engine}: an owned block by a raw file's"),
            Bound::AtMost(1.05),
            owned,
        );
    }
    Ok(report)
}

fn contenders(bases: &Bases, again: bool) -> Vec<Contender<'_>> {
    let raw = move |_| {
        let file = bases.file()?;
        let cost = || raw_file(&file);
        if again { cost().and_then(|_| cost()) } else { cost() }
    };
    let ours = move |engine| {
        let (_dir, chain) = bases.clone()?;
        let mut queue = chain.queue(engine, 1, BLOCK)?;
        let mut cost = || Cost::of(COUNT, || queue.flushed(COUNT, scattered(STEP_BYTES, DISK)));
        if again { cost().and_then(|_| cost()) } else { cost() }
    };
    let qemu = move |_| {
        let (_dir, overlay) = bases.overlay()?;
        let work = Work::stepped(Kind::Write, COUNT, 1, 0);
        let cost =
            || qemu::whole((&overlay, "qcow2"), Work { step: STEP_BYTES, flush: true, ..work });
        if again { cost().and_then(|_| cost()) } else { cost() }
    };
    vec![
        Contender::new(RAW, raw),
        Contender::new("uring", move |_| ours(Engine::Uring)),
        Contender::new("sync", move |_| ours(Engine::Sync)),
        Contender::new("QEMU", qemu),
    ]
}

fn raw_file(file: &std::fs::File) -> Result<Cost> {
    use std::os::unix::fs::FileExt;
    let mut at = scattered(STEP_BYTES, DISK);
    Cost::of(COUNT, || {
        for index in 0..COUNT {
            file.write_all_at(&[0x5a; 4096], at(index))?;
            file.sync_data()?;
        }
        Ok(())
    })
}
