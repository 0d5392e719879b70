//! The simulator must catch what it is made to catch.

use super::cut::Random;
use super::letters::{Chain, Guest, Letter, chains, guests};
use super::lives::life;
use super::words::every_word;
use crate::seeded::{Bug, Written, seed};

const BUGS: [Bug; 20] = [
    Bug::NoSyncAfter(Written::FirstHeader),
    Bug::NoSyncAfter(Written::SecondHeader),
    Bug::NoSyncAfter(Written::Bitmap),
    Bug::NoSyncAfter(Written::Data),
    Bug::BitBeforeWrite,
    Bug::BitBeforePunch,
    Bug::LiveBitmap,
    Bug::PutBackForgotten,
    Bug::ZeroClearsBits,
    Bug::HeadForgotten,
    Bug::TailForgotten,
    Bug::NoRangeLock,
    Bug::FlushDoesNotWait,
    Bug::TopDoesNotWait,
    Bug::RelinkBeforeFlush,
    Bug::RebaseComparesSectors,
    Bug::AbsorbWithoutMark,
    Bug::AbsorbedBeforeFlush,
    Bug::StaleOwners,
    Bug::GrowExposes,
];

/// All words of two letters after a write, then some lives.
fn subset() -> Result<usize, String> {
    let written = || vec![Letter::Do(Guest::Write(1..3))];
    let mut states = every_word(written(), &guests(), 3, &mut Random(1))?;
    states += every_word(written(), &chains(), 3, &mut Random(2))?;
    let resized = [34, 56].map(|size| Letter::Change(Chain::Resize(size)));
    let written = [Guest::Write(40..42), Guest::Flush].map(Letter::Do);
    let mut random = Random(5);
    for letters in [chains(), [resized, written].concat()] {
        for _ in 0..8 {
            states += life(&letters, &mut random)?;
        }
    }
    Ok(states)
}

#[test]
fn each_seeded_bug_is_caught_and_nothing_where_there_is_none() {
    let states = subset().unwrap();
    println!("without a bug: {states} states, all of them legal");
    let mut missed = Vec::new();
    for bug in BUGS {
        seed(Some(bug));
        let caught = subset();
        seed(None);
        match caught {
            Err(what) => println!("{bug:?}: {}", what.chars().take(300).collect::<String>()),
            Ok(_) => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
