//! Is moving 1 MiB at a time as fast as it is with a raw file?

use blockdev::Engine;

use crate::chain::Chain;
use crate::qemu::{self, Work};
use crate::queue::{Kind, Queue};
use crate::race::{Contender, race};
use crate::raw;
use crate::report::{Bound, Report, Result};
use crate::writes::Bases;

const MIB: u64 = 1 << 20;
/// What is read or written in each round; all of it in the page cache.
const COUNT: u64 = 128;
const RAW: &str = "raw file";

/// Everything has been written once before, so every byte is in the top layer.
pub fn measure(rounds: usize) -> Result<Report> {
    let (bases, mut report) = (Bases::new()?, Report::default());
    let file = bases.file()?;
    raw::run(&file, Kind::Write, (COUNT, MIB), at)?;
    let (_ours, chain) = bases.clone()?;
    let (_theirs, overlay) = bases.overlay()?;
    qemu::whole((&overlay, "qcow2"), work(Kind::Write))?;
    for (kind, name) in [(Kind::Read, "reads"), (Kind::Write, "writes")] {
        let figure = &format!("1 MiB sequential {name} [GB/s]");
        let raw = |_| raw::run(&file, kind, (COUNT, MIB), at);
        let mut contenders = vec![Contender::new(RAW, raw).twice()];
        contenders.extend(ours(&chain, kind)?);
        let theirs = |_| qemu::whole((&overlay, "qcow2"), work(kind));
        contenders.push(Contender::new("QEMU", theirs));
        race(&mut report, figure, rounds, |cost| cost.gbps(MIB), contenders)?;
        for name in ["uring", "sync"] {
            let (what, ratio) =
                (format!("{figure}: {name} by raw"), report.ratio(figure, name, RAW));
            report.goal(&what, Bound::AtLeast(0.95), ratio);
        }
    }
    Ok(report)
}

fn ours(chain: &Chain, kind: Kind) -> Result<Vec<Contender<'static>>> {
    let stack = chain.open()?;
    let contender = |(engine, name): (Engine, &str)| {
        let mut queue = Queue::new(stack.disk(engine)?, 1, MIB)?;
        queue.run(Kind::Write, COUNT, at)?;
        Ok(Contender::new(name, move |_| queue.run(kind, COUNT, at)).twice())
    };
    [(Engine::Uring, "uring"), (Engine::Sync, "sync")].into_iter().map(contender).collect()
}

fn at(index: u64) -> u64 {
    index * MIB
}

fn work(kind: Kind) -> Work {
    Work { len: MIB, step: MIB, ..Work::stepped(kind, COUNT, 1, 0) }
}
