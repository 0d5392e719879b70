//! Words of letters: the power is cut after every event of the last one.

use std::sync::Arc;

use super::cut::{Cut, Effort, File, Random};
use super::letters::{Letter, chains, guests};
use super::model::Found;
use super::world::{Legal, Store, Top, World, read};
use crate::io::mem::MemStorage;

/// Looks at every state that a crash in the last letter of `word` may leave. (Crashes in earlier
/// letters are those of shorter words.)
pub(super) fn check(
    mut world: World,
    word: &[Letter],
    effort: Effort,
    random: &mut Random,
) -> Result<usize, String> {
    let mut states = 0;
    let mut count = |_: &Legal, _: Vec<File>, _: Found| states += 1;
    crash(&mut world, word, effort, random, &mut count)?;
    Ok(states)
}

/// As [`check`], and calls `visit` with what each state is to hold, its files, and what they do.
pub(super) fn crash(
    world: &mut World,
    word: &[Letter],
    effort: Effort,
    random: &mut Random,
    visit: &mut dyn FnMut(&Legal, Vec<File>, Found),
) -> Result<(), String> {
    let Some((last, first)) = word.split_last() else { return Ok(()) };
    first.iter().try_for_each(|letter| act(world, letter))?;
    let before = world.forget();
    act(world, last)?;
    running(world)?;
    let (start, records) = world.cut();
    for cut in before..=records.len() {
        let left = Cut::after(&start, &records[..cut]);
        if left.risks_a_header() {
            return Err(format!("both headers under way after {cut} records"));
        }
        let ledger = world.ledger();
        let legal = ledger.at(cut);
        for subset in left.subsets(effort, random) {
            let files = left.keep(&subset);
            let storages = switched_off(files.clone());
            let found = verify(Store { bases: &world.bases, files: &storages }, legal);
            let found = found.map_err(|what| {
                format!("cut after {cut} of {} records, {subset:?} kept: {what}", records.len())
            })?;
            visit(legal, files, found);
        }
    }
    Ok(())
}

fn act(world: &mut World, letter: &Letter) -> Result<(), String> {
    world.act(letter).map_err(|error| format!("{letter:?} failed: {error:?}"))
}

/// That the disk in use holds what was written last.
pub(super) fn running(world: &World) -> Result<(), String> {
    let found = read(&world.open().stack.current.get()).map_err(|error| format!("{error:?}"))?;
    let wanted = world.ledger().now.model.now();
    if wanted.sectors[..wanted.size] != found.sectors[..found.size] {
        return Err(format!("the running disk has {found:x?}, not {wanted:x?}"));
    }
    Ok(())
}

pub(super) fn switched_off(files: Vec<File>) -> Vec<Arc<MemStorage>> {
    files.into_iter().map(|(len, image)| Arc::new(MemStorage::new(len, image))).collect()
}

/// That the disk and its snapshots hold what is legal; what the disk holds.
pub(super) fn verify(store: Store<'_>, legal: &Legal) -> Result<Found, String> {
    let disk = store.look(legal, legal.places.delta, Top::Written);
    let disk = disk.map_err(|error| format!("{error:?}"))?;
    legal.model.check(&disk)?;
    for (file, model) in &legal.past {
        let found = store.look(legal, *file, Top::Read);
        let found = found.map_err(|error| format!("snapshot {file}: {error:?}"))?;
        model.check(&found).map_err(|what| format!("snapshot {file}: {what}"))?;
    }
    if let Some((file, either)) = &legal.merging
        && let Ok(found) = store.look(legal, *file, Top::Read)
        && either.iter().all(|model| model.check(&found).is_err())
    {
        return Err(format!("half of a merge can be read: {found:x?}"));
    }
    Ok(disk)
}

/// All words of up to `len` letters that begin with `word`.
pub(super) fn every_word(
    mut word: Vec<Letter>,
    letters: &[Letter],
    len: usize,
    random: &mut Random,
) -> Result<usize, String> {
    let mut states = 0;
    every_longer_word(&mut word, letters, len, random, &mut states)?;
    Ok(states)
}

fn every_longer_word(
    word: &mut Vec<Letter>,
    letters: &[Letter],
    len: usize,
    random: &mut Random,
    states: &mut usize,
) -> Result<(), String> {
    for letter in letters {
        word.push(letter.clone());
        let effort = if word.len() < len { Effort::Singles } else { Effort::Sample };
        let checked = check(World::new(), word, effort, random);
        *states += checked.map_err(|what| format!("{word:?}: {what}"))?;
        if word.len() < len {
            every_longer_word(word, letters, len, random, states)?;
        }
        word.pop();
    }
    Ok(())
}

#[test]
fn every_state_after_every_word_of_changes_to_a_chain_is_legal() {
    let letters = chains();
    let states = every_word(Vec::new(), &letters, 3, &mut Random(2)).unwrap();
    println!("{} letters, {states} states", letters.len());
    assert!(states > 50_000, "{states} are too few to say much");
}

#[test]
fn every_state_after_every_word_of_up_to_three_letters_is_legal() {
    let letters = guests();
    assert!(letters.len() >= 30, "{} letters", letters.len());
    let states = every_word(Vec::new(), &letters, 3, &mut Random(1)).unwrap();
    println!("{} letters, {states} states", letters.len());
    assert!(states > 200_000, "{states} are too few to say much");
}
