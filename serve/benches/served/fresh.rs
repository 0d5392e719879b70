//! What do 4 KiB writes to a fresh clone cost that is served, without and with a flush after each?

use crate::client::{Client, Protocol};
use crate::layout::{BLOCK, DISK, STEP, STRIDE, scattered};
use crate::measure::Cost;
use crate::queue::Kind;
use crate::race::{Contender, race};
use crate::report::{Report, Result};
use crate::server::Server;
use crate::writes::Bases;

/// Never the same block twice.
const SCATTER: u64 = STEP * STRIDE + BLOCK;

/// What a client does to a fresh clone: so often, in this way.
type Work = (u64, fn(&mut dyn Client, u64, &mut dyn FnMut(u64) -> u64) -> Result<()>);

pub fn writes(rounds: usize) -> Result<Report> {
    let (bases, mut report) = (Bases::new()?, Report::default());
    let work: Work = (8192, |client, count, at| client.run(Kind::Write, count, at));
    for protocol in Protocol::ALL {
        for depth in [1, 16] {
            let figure = format!("{protocol} writes, QD {depth} [kIOPS]");
            let all = contenders(&bases, protocol, depth, work);
            race(&mut report, &figure, rounds, Cost::kiops, all)?;
        }
    }
    Ok(report)
}

pub fn flushes(rounds: usize) -> Result<Report> {
    let (bases, mut report) = (Bases::new()?, Report::default());
    let work: Work = (200, |client, count, at| client.flushed(count, at));
    for protocol in Protocol::ALL {
        let figure = format!("{protocol} write and flush [us]");
        race(&mut report, &figure, rounds, Cost::us, contenders(&bases, protocol, 1, work))?;
    }
    Ok(report)
}

/// Each with a clone and a server of its own in each round.
fn contenders(
    bases: &Bases,
    protocol: Protocol,
    depth: usize,
    (count, act): Work,
) -> Vec<Contender<'_>> {
    let cost = move |mut server: Server| {
        server.cost(count, |client| act(client, count, &mut scattered(SCATTER, DISK)))
    };
    let qemu = move |_| {
        let (_dir, overlay) = bases.overlay()?;
        cost(Server::qemu(protocol, (&overlay, "qcow2"), depth)?)
    };
    let ours = move |_| {
        let (_dir, chain) = bases.clone()?;
        cost(Server::ours(protocol, &chain.spec, depth)?)
    };
    vec![Contender::new("qemu-storage-daemon", qemu), Contender::new("offshoot", ours)]
}
