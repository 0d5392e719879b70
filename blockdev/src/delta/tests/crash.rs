//! Cuts the power at every point of short sequences of operations, and at random points of long
//! ones, and looks at every disk that may be left: see docs/delta-format.md, Opening and crashes.

use std::sync::Arc;

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::life::{Letter, Life, Model, alphabet, at_cut, keep};

/// How many subsets of the sectors that may be durable are looked at.
#[derive(Clone, Copy, PartialEq)]
enum Effort {
    /// All of them when they are few, else none, all, and two at random.
    Sample,
    /// Also each alone, and all but one.
    Singles,
}

fn subsets(count: usize, effort: Effort, random: &mut TestRng) -> Vec<Vec<bool>> {
    if count <= 2 {
        return (0..1 << count)
            .map(|set| (0..count).map(|i| set >> i & 1 == 1).collect())
            .collect();
    }
    let only = |one: usize| (0..count).map(|i| i == one).collect::<Vec<_>>();
    let but = |one: usize| (0..count).map(|i| i != one).collect::<Vec<_>>();
    let mut subsets = vec![vec![false; count], vec![true; count]];
    subsets.extend((0..2).map(|_| (0..count).map(|_| random.next_u32() & 1 == 1).collect()));
    if effort == Effort::Singles {
        subsets.extend((0..count).flat_map(|one| [only(one), but(one)]));
    }
    subsets
}

/// Does `word`, cuts the power after each event of its last letter (earlier cuts are those of
/// shorter words), and returns how many states were looked at.
fn check(word: &[&Letter], effort: Effort, random: &mut TestRng) -> usize {
    let (last, first) = word.split_last().unwrap();
    let mut life = Life::new();
    first.iter().for_each(|letter| life.act(letter));
    let before = life.delta.events();
    life.act(last);
    let log = life.cut();
    let mut states = 0;
    for cut in before..=log.len() {
        let (durable, loose) = at_cut(&life.start.1, &log, cut);
        for subset in subsets(loose.len(), effort, random) {
            let (found, _) = life.reopen(&keep(&durable, &loose, &subset));
            let when = || format!("{word:?} cut after {cut} events, {subset:?} kept");
            life.legal(cut).check(&found, &when);
            states += 1;
        }
    }
    states
}

#[test]
fn every_state_after_every_word_of_up_to_three_letters_is_legal() {
    let mut random = TestRng::deterministic_rng(RngAlgorithm::XorShift);
    let letters = alphabet();
    let mut states = 0;
    for a in &letters {
        states += check(&[a], Effort::Singles, &mut random);
        for b in &letters {
            states += check(&[a, b], Effort::Singles, &mut random);
            for c in &letters {
                states += check(&[a, b, c], Effort::Sample, &mut random);
            }
        }
    }
    println!("{states} states");
    assert!(states > 100_000, "{states} are too few to say much");
}

#[test]
fn every_state_in_long_lives_with_several_crashes_is_legal() {
    let mut random = TestRng::deterministic_rng(RngAlgorithm::XorShift);
    let letters = alphabet();
    let mut pick = |below: usize| random.next_u32() as usize % below;
    let mut lives = Vec::new();
    for _ in 0..40 {
        let seed: Vec<(usize, Vec<usize>)> = (0..4)
            .map(|_| (pick(1 << 20), (0..12).map(|_| pick(letters.len())).collect()))
            .collect();
        lives.push(seed);
    }
    for seeds in lives {
        let mut life = Life::new();
        for (seed, word) in seeds {
            word.iter().for_each(|&letter| life.act(&letters[letter]));
            let log = life.cut();
            let cut = seed % (log.len() + 1);
            let (durable, loose) = at_cut(&life.start.1, &log, cut);
            let subsets = subsets(loose.len(), Effort::Singles, &mut random);
            let mut left = None;
            for subset in &subsets {
                let image = keep(&durable, &loose, subset);
                let (found, delta) = life.reopen(&image);
                life.legal(cut).check(&found, &|| format!("cut after {cut} of {log:?}"));
                left = Some((found, delta.contents()));
            }
            // Whatever the last one left is what the machine goes on with.
            let (found, contents) = left.expect("there is at least one subset");
            life =
                Life::from(life.spec.clone(), Arc::clone(&life.base), contents, Model::of(&found));
        }
    }
}
