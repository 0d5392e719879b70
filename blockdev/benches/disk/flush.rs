//! What does it cost to write 4 KiB and make them durable, where there was nothing and again?

use std::fs::File;
use std::os::unix::fs::FileExt;

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
const TWICE: &str = "raw file, two fdatasync";

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
            &format!("{engine}: a new block by a raw file's with two syncs"),
            Bound::AtMost(1.1),
            report.ratio(figures[0], engine, TWICE),
        );
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
    let twice = move |_| noted_file(&bases.file()?);
    let twice = (!again).then(|| Contender::new(TWICE, twice));
    let all = vec![
        Contender::new(RAW, raw),
        Contender::new("uring", move |_| ours(Engine::Uring)),
        Contender::new("sync", move |_| ours(Engine::Sync)),
        Contender::new("QEMU", qemu),
    ];
    all.into_iter().chain(twice).collect()
}

/// What a format cannot do without that notes down where a block is once it is there: another write,
/// to a place that has been written before, and another sync. A note of 512 bytes has room for
/// 4032 blocks, so these, which lie far apart, have one each.
fn noted_file(file: &File) -> Result<Cost> {
    let note = [0x5a; 512];
    let note_of = |at: u64| DISK + at / BLOCK / 4032 * 512;
    (0..DISK).step_by(4032 * 4096).try_for_each(|at| file.write_all_at(&note, note_of(at)))?;
    file.sync_all()?;
    let mut at = scattered(STEP_BYTES, DISK);
    Cost::of(COUNT, || {
        for index in 0..COUNT {
            let at = at(index);
            file.write_all_at(&[0x5a; 4096], at)?;
            file.sync_data()?;
            file.write_all_at(&note, note_of(at))?;
            file.sync_data()?;
        }
        Ok(())
    })
}

fn raw_file(file: &File) -> Result<Cost> {
    let mut at = scattered(STEP_BYTES, DISK);
    Cost::of(COUNT, || {
        for index in 0..COUNT {
            file.write_all_at(&[0x5a; 4096], at(index))?;
            file.sync_data()?;
        }
        Ok(())
    })
}
