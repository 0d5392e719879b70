//! Long lives of random letters, cut off several times: what one crash left, the next life begins
//! with, and the interrupted operation is what it begins with.

use super::cut::{Effort, File, Random};
use super::letters::Letter::{Change, Do};
use super::letters::{Chain, Guest, Letter, chains, guests};
use super::model::{Found, Model};
use super::words::crash;
use super::world::{Legal, World};
use crate::testing::long;

/// Crashes in one life.
const CRASHES: usize = 5;
/// Letters between two crashes at most.
const LETTERS: usize = 6;

/// How many states were looked at in one life.
pub(super) fn life(letters: &[Letter], random: &mut Random) -> Result<usize, String> {
    let mut world = World::new();
    let (mut states, mut told) = (0, Vec::new());
    for _ in 0..CRASHES {
        let word: Vec<_> = (0..1 + random.below(LETTERS))
            .map(|_| letters[random.below(letters.len())].clone())
            .collect();
        // What was interrupted last time is begun again: recovering is an operation, too.
        let again = told.last().and_then(|word: &Vec<Letter>| word.last()).cloned();
        let word: Vec<_> = again.into_iter().chain(word).collect();
        told.push(word.clone());
        let (mut left, mut choice) = (None, random.clone());
        let mut visit = |legal: &Legal, files: Vec<File>, found: Found| {
            states += 1;
            if left.is_none() || choice.below(states) == 0 {
                left = Some((legal.clone(), files, found));
            }
        };
        crash(&mut world, &word, Effort::Singles, random, &mut visit)
            .map_err(|what| format!("{told:?}: {what}"))?;
        let (legal, files, found) = left.ok_or("a word leaves something")?;
        let legal = Legal { model: Model::of(&found), merging: None, ..legal };
        world = World::begin(world.bases.clone(), files, legal).map_err(|e| format!("{e:?}"))?;
    }
    Ok(states)
}

/// Lives until so many states have been seen.
fn lives(letters: &[Letter], seed: u64, wanted: usize) -> usize {
    let mut random = Random(seed);
    let mut states = 0;
    let mut told = 0;
    while states < wanted {
        states += life(letters, &mut random).unwrap();
        if states / 250_000 > told {
            told = states / 250_000;
            println!("{states} of {wanted} states");
        }
    }
    states
}

/// As many states as the tests are to take time for.
fn budget() -> usize {
    if long() { 5_000_000 } else { 20_000 }
}

#[test]
fn every_state_in_long_lives_of_guests_is_legal() {
    println!("{} states", lives(&guests(), 3, budget()));
}

#[test]
fn every_state_in_long_lives_of_chains_is_legal() {
    println!("{} states", lives(&[guests(), chains()].concat(), 4, budget()));
}

#[test]
fn a_map_of_a_layer_below_what_is_merged_into_it_is_none_of_it_on_top() {
    let commit = Change(Chain::Commit);
    let snapshot = Change(Chain::SnapshotDuring(0, Guest::Write(0..8)));
    let merged = [snapshot.clone(), commit.clone()];
    go_on(&merged, &[commit, Do(Guest::Write(20..23)), Do(Guest::Flush), snapshot]);
}

#[test]
fn what_is_written_after_a_commit_was_cut_off_is_committed_with_the_next() {
    let commit = Change(Chain::Commit);
    let (write, flush) = (|range| Do(Guest::Write(range)), Do(Guest::Flush));
    let word = [Change(Chain::Snapshot), write(1..3), flush.clone(), commit.clone()];
    go_on(&word, &[write(20..23), flush, commit]);
}

/// Has `then` happen after every crash in the last letter of `word`.
fn go_on(word: &[Letter], then: &[Letter]) {
    let mut left = Vec::new();
    let (mut world, random) = (World::new(), &mut Random(5));
    crash(&mut world, word, Effort::Sample, random, &mut |legal, files, found| {
        left.push((Legal { model: Model::of(&found), merging: None, ..legal.clone() }, files));
    })
    .unwrap();
    for (legal, files) in left {
        let mut world = World::begin(world.bases.clone(), files, legal).unwrap();
        crash(&mut world, then, Effort::Sample, random, &mut |_, _, _| ()).unwrap();
    }
}
