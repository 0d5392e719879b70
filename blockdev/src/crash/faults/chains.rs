//! Every call that an operation on a chain makes to any of its files fails, in every way.
//!
//! Then the error says what failed, the disk and its snapshots are what they were, whether or not
//! what was not synced reaches the disk, and the operation can be done again.

use std::sync::Arc;

use super::FAULTS;
use crate::crash::cut::{Cut, File};
use crate::crash::letters::{Chain, Guest, Letter};
use crate::crash::model::{Found, Model};
use crate::crash::words::{running, switched_off, verify};
use crate::crash::world::{BASE, Failing, Legal, OTHER, Store, World, read};
use crate::io::Storage;
use crate::io::mem::Fault;
use crate::testing::errno;
use crate::{Error, Result, Stack};

/// What may fail. `Snapshot` and `Attach` make files, which may fail, too.
const CHANGES: [Chain; 11] = [
    Chain::Snapshot,
    Chain::Flatten,
    Chain::Remove,
    Chain::RemoveMiddle,
    Chain::Absorb,
    Chain::Commit,
    Chain::Rebase,
    Chain::Resize(56),
    Chain::Resize(34),
    Chain::Compact,
    Chain::Attach,
];

/// A machine that is off, and what its disk is to hold.
#[derive(Clone)]
struct Left {
    files: Vec<File>,
    legal: Legal,
}

impl Left {
    /// All that was done in `world`, if what was not synced was `kept`, and it is legal.
    fn of(world: &mut World, kept: bool) -> std::result::Result<Left, String> {
        let legal = world.ledger().now.clone();
        let (start, records) = world.cut();
        let left = Cut::after(&start, &records);
        let files = left.keep(&vec![kept; left.loose()]);
        Left { files, legal }.checked(world)
    }

    fn checked(self, world: &World) -> std::result::Result<Left, String> {
        let storages = switched_off(self.files.clone());
        let found = verify(Store { bases: &world.bases, files: &storages }, &self.legal)?;
        Ok(self.holding(&found))
    }

    /// The same when it is known what the disk holds.
    fn holding(self, found: &Found) -> Left {
        let legal = Legal { model: Model::of(found), merging: None, ..self.legal };
        Left { legal, ..self }
    }

    fn switch_on(self) -> World {
        let bases = World::new().bases.clone();
        World::begin(bases, self.files, self.legal).unwrap()
    }
}

/// Three snapshots, each of which owns something that the others do not.
fn deep() -> Left {
    use Guest::{Flush, Write, Zero};
    let snapshot = || Letter::Change(Chain::Snapshot);
    let mut world = World::new();
    let word = [
        Letter::Do(Write(1..3)),
        Letter::Do(Write(32..40)),
        snapshot(),
        Letter::Do(Write(6..11)),
        Letter::Do(Zero(20..23)),
        snapshot(),
        Letter::Do(Write(16..24)),
        snapshot(),
        Letter::Do(Write(4..6)),
        Letter::Do(Zero(24..32)),
        Letter::Do(Write(40..42)),
        Letter::Do(Flush),
    ];
    word.iter().for_each(|letter| world.act(letter).unwrap());
    Left::of(&mut world, true).unwrap()
}

/// The operation when a call to a file fails; whether the call was made.
fn fail(
    world: &mut World,
    change: &Chain,
    file: usize,
    call: u64,
    fault: Fault,
) -> (Result<()>, bool) {
    world.failing = Some(Failing { file, call, fault, calls: 0 });
    let result = world.change(change);
    let failing = world.failing.take();
    (result, failing.is_some_and(|failing| failing.calls > call))
}

/// That `error` says which file failed, and how.
fn check_told(error: &Error, fault: Fault, when: &str) {
    let first: &(dyn std::error::Error + 'static) = error;
    let causes: Vec<_> = std::iter::successors(Some(first), |error| error.source()).collect();
    let text: Vec<String> = causes.iter().map(ToString::to_string).collect();
    let named = text.iter().any(|text| {
        ["file-", "base-", "layer-", "new", "delta"].iter().any(|name| text.contains(name))
    });
    assert!(named, "{when}: no file is named: {text:?}");
    let wanted = match fault {
        Fault::Errno(errno) => Some(errno),
        Fault::Short => panic!("{when}: short calls are gone on with: {text:?}"),
    };
    assert_eq!(errno(error), wanted, "{when}: {text:?}");
}

/// One failing call: whether it was made.
fn attempt(before: &Left, change: &Chain, file: usize, call: u64, fault: Fault) -> bool {
    let when = format!("{change:?} with {fault:?} in call {call} to file {file}");
    let mut world = before.clone().switch_on();
    let (result, made) = fail(&mut world, change, file, call, fault);
    let Err(error) = &result else {
        Left::of(&mut world, false).unwrap_or_else(|what| panic!("{when}: {what}"));
        return made;
    };
    check_told(error, fault, &when);
    for kept in [false, true] {
        // A machine that is off cannot be cut twice.
        let mut world = before.clone().switch_on();
        let _failed = fail(&mut world, change, file, call, fault);
        let left = Left::of(&mut world, kept).unwrap_or_else(|what| panic!("{when}: {what}"));
        let mut world = left.switch_on();
        let again = world.change(change);
        again.unwrap_or_else(|error| panic!("{when}, and when done again: {error:?}"));
        running(&world).unwrap_or_else(|what| panic!("{when}, and done again: {what}"));
        Left::of(&mut world, false).unwrap_or_else(|what| panic!("{when}, and done again: {what}"));
    }
    made
}

/// Opens and reads all of a disk when a call to a file fails; whether the call was made.
fn open(before: &Left, file: usize, call: u64, fault: Fault) -> bool {
    let when = format!("opening with {fault:?} in call {call} to file {file}");
    let storages = switched_off(before.files.clone());
    storages[file].fail(call, fault);
    let world = World::new();
    let base = &world.bases[BASE];
    let [bottom @ .., top] = &storages[OTHER + 1..] else { panic!("it is deep") };
    let frozen: Vec<Arc<dyn Storage>> = bottom.iter().map(|it| Arc::clone(it) as _).collect();
    let opened = Stack::from_storages(
        base,
        Arc::clone(&storages[BASE]) as _,
        &frozen,
        Some(Arc::clone(top) as _),
    );
    match opened.and_then(|stack| read(&stack.current.get())) {
        Ok(found) => {
            before.legal.model.check(&found).unwrap_or_else(|what| panic!("{when}: {what}"))
        }
        Err(error) => check_told(&error, fault, &when),
    }
    storages[file].calls() > call
}

#[test]
fn any_failing_call_of_opening_and_reading_a_chain_is_told() {
    let before = deep();
    for file in 0..before.files.len() {
        let calls = (0..).take_while(|&call| {
            FAULTS.map(|fault| open(&before, file, call, fault)).contains(&true)
        });
        println!("{} calls to file {file}", calls.count());
    }
}

#[test]
fn any_failing_call_of_an_operation_on_a_chain_is_told_and_changes_nothing() {
    let before = deep();
    // One more is made by some.
    for (change, file) in
        CHANGES.iter().flat_map(|it| (0..=before.files.len()).map(move |at| (it, at)))
    {
        let calls = (0..).take_while(|&call| {
            let made = FAULTS.map(|fault| attempt(&before, change, file, call, fault));
            made.contains(&true)
        });
        println!("{change:?}: {} calls to file {file}", calls.count());
    }
}
