//! How fast our servers are beside qemu-storage-daemon, in one run and by the same clients.
//!
//! `cargo bench -p serve --bench served [-- [--rounds N] NAME...]`; docs/benchmarks.md says what each
//! name asks. Needs `qemu-img`, `qemu-io`, `qemu-storage-daemon`, and 3 GB of room in `TMPDIR`.

/// What the disk engine's own bench has, to be used here: the same data, the same tables.
macro_rules! shared {
    ($($name:ident $path:literal)*) => { $(
        #[path = $path]
        #[allow(dead_code, reason = "the disk engine's bench uses all of it")]
        mod $name;
    )* };
}

shared! {
    chain "../../../blockdev/benches/disk/chain.rs"
    layout "../../../blockdev/benches/disk/layout.rs"
    measure "../../../blockdev/benches/disk/measure.rs"
    qemu "../../../blockdev/benches/disk/qemu.rs"
    queue "../../../blockdev/benches/disk/queue.rs"
    race "../../../blockdev/benches/disk/race.rs"
    raw "../../../blockdev/benches/disk/raw.rs"
    report "../../../blockdev/benches/disk/report.rs"
    writes "../../../blockdev/benches/disk/writes.rs"
}

mod client;
mod fresh;
mod nbd;
mod ours;
mod reads;
mod ring;
mod server;
mod vhost_user;

use report::{Report, Result};

/// A bench: what it is called, and what it does in so many rounds.
type Bench = (&'static str, fn(usize) -> Result<Report>);

const BENCHES: &[Bench] =
    &[("reads", reads::measure), ("writes", fresh::writes), ("flush", fresh::flushes)];

/// Rounds unless the command line says otherwise.
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, protocol, spec, socket] = &words[..]
        && first == ours::VERB
    {
        return ours::serve(protocol.parse()?, spec.as_ref(), socket.as_ref());
    }
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
