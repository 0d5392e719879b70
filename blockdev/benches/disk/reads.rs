//! Does a random 4 KiB read cost the same at any depth, and what does it cost elsewhere?

use blockdev::Engine;

use crate::field::Field;
use crate::layout::{BLOCK, PIECE, PIECES, random, stepped};
use crate::measure::Cost;
use crate::qemu::{self, Work};
use crate::queue::Kind;
use crate::race::{Contender, race};
use crate::raw;
use crate::report::{Bound, Report, Result};

/// Rounds of what takes little for each of what takes long: the shorter the rounds, the more alike
/// is the weather for all of one.
const SHORT: usize = 5;

const RAW: &str = "raw file, preadv";
const SPLIT: &str = "65 raw files, preadv";

/// Everything in the page cache.
pub fn warm(rounds: usize) -> Result<Report> {
    let (field, mut report) = (Field::new(&[1, 8, 32, 64])?, Report::default());
    for depth in [1, 16] {
        let figure = &format!("4 KiB reads, warm, {depth} in flight [kIOPS]");
        let mut ours = ours(&field, depth, 2 * PIECES)?;
        let split = |round| field.split.read(2 * PIECES, stepped(offset(round)));
        ours.push(Contender::new(SPLIT, split));
        let twice = ours.into_iter().map(Contender::twice).collect();
        race(&mut report, figure, SHORT * rounds, Cost::kiops, twice)?;
        let qemu = field.chains.iter().map(|chain| {
            let read = move |round| {
                let work = Work::stepped(Kind::Read, 4 * PIECES, depth, offset(round));
                qemu::bench(chain.image(), work, PIECES)
            };
            Contender::new(format!("QEMU, {} deep", chain.depth), read)
        });
        race(&mut report, figure, rounds, Cost::kiops, qemu.collect())?;
        goals(&mut report, figure, depth);
    }
    let figure = "4 KiB reads, warm, any block [kIOPS]";
    race(&mut report, figure, SHORT * rounds, Cost::kiops, anywhere(&field, 4 * PIECES)?)?;
    Ok(report)
}

/// Nothing in the page cache: each piece is read once.
pub fn cold(rounds: usize) -> Result<Report> {
    let (field, mut report) = (Field::new(&[1, 32])?, Report::default());
    for depth in [1, 16] {
        let figure = &format!("4 KiB reads, cold, {depth} in flight [kIOPS]");
        let mut all = ours(&field, depth, PIECES)?;
        all.extend(field.chains.iter().map(|chain| {
            let read = move |round| {
                let work = Work::stepped(Kind::Read, PIECES, depth, offset(round));
                qemu::whole(chain.image(), work)
            };
            Contender::new(format!("QEMU, {} deep", chain.depth), read)
        }));
        let all = all.into_iter().map(|contender| contender.after(|| field.cool()));
        race(&mut report, figure, rounds, Cost::kiops, all.collect())?;
    }
    Ok(report)
}

/// Another block of each piece in each round.
fn offset(round: u64) -> u64 {
    round * BLOCK % PIECE
}

/// The raw file, our chains with both engines, and a disk that has nothing to read.
fn ours(field: &Field, depth: usize, count: u64) -> Result<Vec<Contender<'_>>> {
    let raw = move |at| raw::run(&field.raw, Kind::Read, (count, BLOCK), stepped(at));
    let mut all = vec![Contender::new(RAW, move |round| raw(offset(round)))];
    for engine in [Engine::Uring, Engine::Sync] {
        let chains = field.chains.iter().map(|chain| (format!(", {} deep", chain.depth), chain));
        for (suffix, chain) in chains {
            let mut queue = chain.queue(engine, depth)?;
            let read = move |round| queue.run(Kind::Read, count, stepped(offset(round)));
            all.push(Contender::new(name(engine) + &suffix, read));
        }
    }
    let mut queue = field.null_queue(depth)?;
    let read = move |round| queue.run(Kind::Read, count, stepped(offset(round)));
    all.push(Contender::new("null (nothing there)", read));
    Ok(all)
}

/// As [`ours`], in an order nobody can guess.
fn anywhere(field: &Field, count: u64) -> Result<Vec<Contender<'_>>> {
    let raw = move |_| raw::run(&field.raw, Kind::Read, (count, BLOCK), random());
    let mut all = vec![Contender::new(RAW, raw)];
    for chain in &field.chains {
        let mut queue = chain.queue(Engine::Uring, 1)?;
        let read = move |_| queue.run(Kind::Read, count, random());
        all.push(Contender::new(format!("uring, {} deep", chain.depth), read));
    }
    Ok(all)
}

fn name(engine: Engine) -> String {
    format!("{engine:?}").to_lowercase()
}

fn goals(report: &mut Report, figure: &str, depth: usize) {
    let mut goal = |what: &str, least: f64, ours: &str, theirs: &str| {
        let what = format!("{depth} in flight: {what}");
        report.goal(&what, Bound::AtLeast(least), report.ratio(figure, ours, theirs));
    };
    goal("reads 64 deep by those 1 deep", 0.95, "uring, 64 deep", "uring, 1 deep");
    goal("reads 64 deep by preadv of a raw file", 0.90, "uring, 64 deep", RAW);
    goal("reads 64 deep by preadv of as many raw files", 0.90, "uring, 64 deep", SPLIT);
    goal("reads 32 deep by QEMU's", 10.0, "uring, 32 deep", "QEMU, 32 deep");
}
