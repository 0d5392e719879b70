//! How fast the disk engine is beside QEMU's qcow2 and a raw file, in one run.
//!
//! `cargo bench -p blockdev --bench disk [-- [--rounds N] NAME...]`; docs/benchmarks.md says what
//! each name asks and what was seen. Needs `qemu-img` and `qemu-io`, and 6 GB of room in `TMPDIR`.

mod chain;
mod field;
mod flush;
mod layout;
mod measure;
mod open;
mod qemu;
mod queue;
mod race;
mod raw;
mod reads;
mod report;
mod sequential;
mod snapshot;
mod storm;
mod writes;

use report::{Report, Result};

/// A bench: what it is called, and what it does in so many rounds.
type Bench = (&'static str, fn(usize) -> Result<Report>);

const BENCHES: &[Bench] = &[
    ("reads", reads::warm),
    ("cold", reads::cold),
    ("writes", writes::measure),
    ("flush", flush::measure),
    ("sequential", sequential::measure),
    ("open", open::measure),
    ("memory", open::memory),
    ("snapshot", snapshot::measure),
    ("storm", storm::measure),
];

/// Rounds unless the command line says otherwise.
const ROUNDS: usize = 7;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let rounds = words.iter().skip_while(|word| *word != "--rounds").nth(1);
    let rounds = rounds.map_or(Ok(ROUNDS), |word| word.parse())?;
    let asked = |name: &str| words.iter().any(|word| word == name);
    let all = !BENCHES.iter().any(|(name, _)| asked(name));
    for (name, measure) in BENCHES.iter().filter(|(name, _)| all || asked(name)) {
        println!("== {name}, {rounds} rounds");
        measure(rounds)?.print();
    }
    Ok(())
}
