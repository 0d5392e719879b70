//! Runs a body without a fuzzer: over its recorded corpus and random mutations of that, the same
//! ones each time.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// Longer inputs are cut off, in bytes.
const LONGEST: usize = 64 << 10;
/// Numbers at which arithmetic goes wrong.
const EDGES: [u64; 8] = [0, 1, 4095, 1 << 31, u32::MAX as u64, 1 << 46, i64::MAX as u64, u64::MAX];

/// Gives `body` every file of `fuzz/corpus/TARGET`, and `count` mutations of them.
///
/// # Panics
/// Nothing in the corpus is accepted, as after a change of format, or `body` panics: then the input is left in a file that is named.
pub fn drive(target: &str, count: u64, body: fn(&[u8]) -> bool) {
    let corpus = corpus(target);
    let accepted = corpus.iter().filter(|input| attempt(target, input, body)).count();
    assert!(accepted > 0, "{target} accepts none of its {} recorded inputs", corpus.len());
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..count {
        attempt(target, &mutated(&corpus, &mut dice), body);
    }
}

/// Where the recorded inputs for `target` are.
#[must_use]
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

/// The recorded inputs, in the order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder(target)).into_iter().flatten();
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths.iter().filter_map(|path| fs::read(path).ok()).collect()
}

fn attempt(target: &str, input: &[u8], body: fn(&[u8]) -> bool) -> bool {
    catch_unwind(AssertUnwindSafe(|| body(input))).unwrap_or_else(|panic| {
        let path = std::env::temp_dir().join(format!("offshoot-fuzz-{target}"));
        let kept = fs::write(&path, input);
        eprintln!("{target} panicked over {} ({kept:?})", path.display());
        resume_unwind(panic)
    })
}

/// One of `corpus`, changed in up to eight places.
fn mutated(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = dice.one_of(corpus).clone();
    for _ in 0..=dice.below(8) {
        mutate(&mut input, corpus, dice);
    }
    input.truncate(LONGEST);
    input
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.below(input.len());
    match dice.below(8) {
        0 => input.truncate(at),
        1 => splice(input, at, corpus, dice),
        2 => input.insert(at, dice.byte()),
        3 => drop(input.drain(at..(at + dice.below(64)).min(input.len()))),
        4 => put(input, at, &dice.one_of(&EDGES).to_le_bytes()[..1 << dice.below(4)]),
        5 => put(input, at / 8 * 8, &dice.one_of(&EDGES).to_le_bytes()),
        6 => put(input, at, &[dice.byte()]),
        _ => input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << dice.below(8)),
    }
}

/// Puts a part of another input in place of what is at `at`, or in front of it.
fn splice(input: &mut Vec<u8>, at: usize, corpus: &[Vec<u8>], dice: &mut Dice) {
    let other = dice.one_of(corpus);
    let from = dice.below(other.len());
    let part = &other[from..(from + 1 + dice.below(1024)).min(other.len())];
    match dice.below(2) {
        0 => put(input, at, part),
        _ => drop(input.splice(at..at, part.iter().copied())),
    }
}

/// Overwrites what is at `at`, as far as there is something.
fn put(input: &mut [u8], at: usize, bytes: &[u8]) {
    let there = input.get_mut(at..).unwrap_or_default();
    there.iter_mut().zip(bytes).for_each(|(there, byte)| *there = *byte);
}

/// Random numbers (xorshift), the same in each run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`, or 0.
    fn below(&mut self, end: usize) -> usize {
        let rest = (self.next() >> 11) % (end.max(1) as u64);
        usize::try_from(rest).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}
