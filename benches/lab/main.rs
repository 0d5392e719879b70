//! Clones by the hundred and the thousand: what making, listing, resetting and running them takes.
//! `cargo bench --bench lab [-- [--rounds N] NAME...]`; the names are those of [`ALL`].
//!
//! Needs /dev/kvm and `qemu-img`, and some 2 GiB of memory for `guests`. Whole processes are timed,
//! and what is compared takes turns. `OFFSHOOT` may name another binary than the one just built.

mod clones;
mod guests;
mod lists;
mod measure;
mod report;
mod reset;
#[path = "../common/samples.rs"]
mod samples;
mod store;

use std::error::Error;

use report::Row;

/// Rounds unless the command line says otherwise.
const ROUNDS: usize = 15;

type Measure = fn(usize) -> Result<Vec<Row>, Box<dyn Error>>;

/// What can be measured.
const ALL: [(&str, Measure); 6] = [
    ("thousand", clones::thousand),
    ("growth", clones::growth),
    ("size", clones::size),
    ("lists", lists::measure),
    ("reset", reset::measure),
    ("guests", guests::measure),
];

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let after = words.iter().position(|word| word == "--rounds").map(|at| at + 1);
    let rounds = after.and_then(|at| words.get(at)?.parse().ok()).unwrap_or(ROUNDS);
    let asked = |name: &str| words.iter().any(|word| word == name);
    let none = !ALL.iter().any(|(name, _)| asked(name));
    let mut rows = Vec::new();
    report::print_header();
    for (name, measure) in ALL {
        if none || asked(name) {
            let found = measure(rounds)?;
            report::print(&found);
            rows.extend(found);
        }
    }
    println!("{}", serde_json::to_string(&rows)?);
    Ok(())
}
