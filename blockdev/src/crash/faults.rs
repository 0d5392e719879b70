//! Lets every single call to the storage fail, in every way, and looks at what is left: of a guest's
//! operations here, of those on chains in [`chains`].

mod chains;

use std::io;

use super::cut::Cut;
use super::letters::{Chain, Guest, Letter};
use super::words::{running, switched_off};
use super::world::{BASE, Store, Top, World, read};
use crate::error::ErrorKind;
use crate::io::mem::{Call, Fault};
use crate::{Error, Result};

const FAULTS: [Fault; 4] =
    [Fault::Errno(libc::EIO), Fault::Errno(libc::ENOSPC), Fault::Errno(libc::EINTR), Fault::Short];

const FLUSH: Letter = Letter::Do(Guest::Flush);

/// Whole blocks, parts, several at once, zeroes, past the base, the end; flushed and rewritten.
fn script() -> Vec<Letter> {
    use Guest::{Discard, Flush, Write, Zero};
    let script = [
        Write(6..11),
        Flush,
        Write(8..24),
        Zero(1..3),
        Flush,
        Zero(24..32),
        Write(40..42),
        Discard(31..33),
        Flush,
        Write(0..8),
        Flush,
    ];
    script.into_iter().map(Letter::Do).collect()
}

/// Runs the script; what happened to each letter.
fn live(world: &mut World) -> Vec<Result<()>> {
    let results = script().into_iter().map(|letter| {
        let result = world.act(&letter);
        if result.is_err() {
            look(world);
        }
        result
    });
    results.collect()
}

/// After an operation failed nobody knows how much of it was done: looks what is there now.
fn look(world: &mut World) {
    let found = read(&world.open().stack.current.get()).unwrap();
    let model = &mut world.ledger().now.model;
    model.check(&found).unwrap();
    for (sector, content) in found.sectors.iter().enumerate() {
        model.write(sector..sector + 1, *content);
    }
}

/// That nothing has been lost, whether or not the rest reaches the disk.
fn check(world: &mut World, when: &str) {
    let (start, records) = world.cut();
    let left = Cut::after(&start, &records);
    for kept in [false, true] {
        let files = switched_off(left.keep(&vec![kept; left.loose()]));
        let store = Store { bases: &world.bases, files: &files };
        let now = world.ledger().now.clone();
        let found = store.look(&now, now.places.delta, Top::Written).unwrap();
        let legal = world.ledger().now.model.check(&found);
        legal.unwrap_or_else(|what| panic!("{when}, the rest kept: {kept}: {what}"));
    }
}

fn is_sticky(result: &Result<()>) -> bool {
    matches!(result, Err(Error::Failed { .. }))
}

#[test]
fn any_failing_call_on_the_delta_loses_nothing_flushed() {
    let calls = {
        let world = &mut World::new();
        world.top().fail(u64::MAX, Fault::Short);
        assert!(live(world).iter().all(Result::is_ok));
        world.top().calls()
    };
    assert!(calls > 15, "{calls} calls are too few to say much");
    for call in 0..calls {
        for fault in FAULTS {
            let when = format!("{fault:?} in call {call}");
            let world = &mut World::new();
            world.top().fail(call, fault);
            let results = live(world);
            let failed = results.iter().position(Result::is_err);
            match (fault, failed) {
                (_, None) => {}
                (Fault::Short, Some(_)) => panic!("{when}: short calls are gone on with"),
                // What has failed for good stays so.
                (_, Some(first)) if is_sticky(&results[first]) => {
                    assert!(results[first..].iter().all(is_sticky), "{when}: {results:?}");
                }
                // A full disk, or a block that could not be read, concerns one operation.
                (_, Some(first)) => {
                    let error = results[first].as_ref().unwrap_err();
                    let full = matches!(fault, Fault::Errno(libc::ENOSPC));
                    assert_eq!(error.kind() == ErrorKind::NoSpace, full, "{when}: {error}");
                    assert!(results[first + 1..].iter().all(Result::is_ok), "{when}");
                }
            }
            check(world, &when);
        }
    }
}

#[test]
fn any_failing_call_on_the_base_concerns_one_operation() {
    for call in 0.. {
        let mut hits = 0;
        for fault in FAULTS {
            let when = format!("{fault:?} in call {call}");
            let world = &mut World::new();
            world.files[BASE].fail(call, fault);
            let results = live(world);
            let errors = results.iter().filter(|result| result.is_err()).count();
            let expected = matches!(fault, Fault::Errno(libc::EIO | libc::ENOSPC));
            assert!(errors <= usize::from(expected), "{when}: {results:?}");
            assert!(!results.iter().any(is_sticky), "{when}");
            hits += errors;
            check(world, &when);
        }
        if hits == 0 {
            assert!(call > 1, "the script reads the base");
            return;
        }
    }
}

#[test]
fn a_failed_sync_is_not_tried_again() {
    let world = &mut World::new();
    world.act(&Letter::Do(Guest::Write(0..8))).unwrap();
    // Of a flush: the data's sync, the bitmap's write, the bitmap's sync.
    world.top().fail(2, Fault::Errno(libc::EIO));
    let first = world.act(&FLUSH).unwrap_err();
    let again = world.act(&FLUSH).unwrap_err();
    for error in [first, again] {
        let Error::Failed { source, .. } = &error else { panic!("{error:?}") };
        assert!(matches!(**source, Error::Sync { .. }), "{error:?}");
    }
    assert_eq!(world.top().calls(), 3, "no call after the one that failed");
}

#[test]
fn a_snapshot_that_found_no_room_is_completed_by_the_next_flush() {
    let world = &mut World::new();
    world.act(&Letter::Do(Guest::Write(0..8))).unwrap();
    world.act(&Letter::Change(Chain::SnapshotFull(Guest::Write(16..24)))).unwrap();
    check(world, "after the snapshot");
    let world = &mut World::new();
    world.act(&Letter::Change(Chain::SnapshotFull(Guest::Write(16..24)))).unwrap();
    world.act(&FLUSH).unwrap();
    world.act(&Letter::Change(Chain::Snapshot)).unwrap();
    world.act(&Letter::Do(Guest::Write(1..3))).unwrap();
    world.act(&FLUSH).unwrap();
    check(world, "after another snapshot");
}

#[test]
fn nothing_is_durable_over_a_layer_that_could_not_be_frozen() {
    let world = &mut World::new();
    world.act(&Letter::Do(Guest::Write(0..8))).unwrap();
    // Before the pause data, bits; after it what had come in between.
    let eio = || Err(io::Error::from_raw_os_error(libc::EIO));
    world.top().trap(Call::Sync, 2, eio);
    let failed = world.act(&Letter::Change(Chain::Snapshot));
    assert!(is_sticky(&failed), "{failed:?}");
    world.act(&Letter::Do(Guest::Write(1..3))).unwrap();
    for _ in 0..2 {
        let flushed = world.act(&FLUSH);
        assert!(is_sticky(&flushed), "{flushed:?}");
    }
    running(world).unwrap();
    check(world, "after flushes that failed");
}

#[test]
fn a_bitmap_that_found_no_room_is_written_by_the_next_flush() {
    let world = &mut World::new();
    world.act(&Letter::Do(Guest::Write(0..8))).unwrap();
    world.top().fail(1, Fault::Errno(libc::ENOSPC));
    let full = world.act(&FLUSH).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::NoSpace);
    world.act(&FLUSH).unwrap();
    check(world, "after the second flush");
}
