//! What does a random 4 KiB read of a served clone cost, of a shallow chain and of a deep one?

use std::path::PathBuf;

use tempfile::TempDir;

use crate::chain::Chain;
use crate::client::Protocol;
use crate::layout::{BLOCK, PIECE, PIECES, stepped};
use crate::measure::Cost;
use crate::queue::Kind;
use crate::race::{Contender, race};
use crate::report::{Report, Result};
use crate::server::Server;
use crate::{qemu, raw};

const COUNT: u64 = PIECES;

/// The same data in chains of so many layers, on both sides.
struct Pair {
    layers: u64,
    ours: Chain,
    theirs: Vec<PathBuf>,
}

/// Everything in the page cache.
pub fn measure(rounds: usize) -> Result<Report> {
    let (dir, mut report) = (tempfile::tempdir()?, Report::default());
    // QEMU takes any lock for one of its own, so each side has a base.
    let bases = ["ours", "qemu"].map(|side| dir.path().join(side));
    bases.iter().try_for_each(|base| raw::create(base, true).map(drop))?;
    let pairs = [1, 32].map(|layers| Pair::create(&dir, &bases, layers));
    let pairs = pairs.into_iter().collect::<Result<Vec<_>>>()?;
    rustix::fs::sync();
    for protocol in Protocol::ALL {
        for depth in [1, 16] {
            for pair in &pairs {
                let figure = format!("{protocol} reads, {} deep, QD {depth} [kIOPS]", pair.layers);
                let all = pair.contenders(protocol, depth)?;
                let all = all.into_iter().map(Contender::twice).collect();
                race(&mut report, &figure, rounds, Cost::kiops, all)?;
            }
        }
    }
    Ok(report)
}

impl Pair {
    fn create(dir: &TempDir, [ours, theirs]: &[PathBuf; 2], layers: u64) -> Result<Pair> {
        let place = |side| dir.path().join(format!("{side}-{layers}"));
        Ok(Pair {
            layers,
            ours: Chain::create(place("ours"), ours, layers)?,
            theirs: qemu::create_chain(&place("qemu"), theirs, layers)?,
        })
    }

    fn contenders(&self, protocol: Protocol, depth: usize) -> Result<Vec<Contender<'static>>> {
        let top = self.theirs.last().ok_or("a chain has a top")?;
        let qemu = Server::qemu(protocol, (top, "qcow2"), depth)?;
        let ours = Server::ours(protocol, &self.ours.spec, depth)?;
        let servers = [("qemu-storage-daemon", qemu), ("offshoot", ours)];
        let contender = |(name, mut server): (&str, Server)| {
            let read = move |round: u64| {
                // Another block of each piece in each round.
                let at = &mut stepped(round * BLOCK % PIECE);
                server.cost(COUNT, |client| client.run(Kind::Read, COUNT, at))
            };
            Contender::new(name, read)
        };
        Ok(servers.into_iter().map(contender).collect())
    }
}
