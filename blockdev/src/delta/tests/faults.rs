//! Lets every single call to the storage fail, in every way, and looks at what is left.

use super::life::{Letter, Life, at_cut, keep};
use crate::error::ErrorKind;
use crate::io::mem::Fault;
use crate::{Error, Result};

const FAULTS: [Fault; 4] =
    [Fault::Errno(libc::EIO), Fault::Errno(libc::ENOSPC), Fault::Errno(libc::EINTR), Fault::Short];

/// Whole blocks, parts, several at once, zeroes, past the base, the end; flushed and rewritten.
fn script() -> Vec<Letter> {
    use Letter::{Flush, Write, Zero};
    vec![
        Write(6..11),
        Flush,
        Write(8..24),
        Zero(1..3),
        Flush,
        Zero(24..32),
        Write(32..34),
        Flush,
        Write(0..8),
        Flush,
    ]
}

/// Runs the script; what happened to each letter.
fn live(life: &mut Life) -> Vec<Result<()>> {
    let results = script().into_iter().map(|letter| {
        let result = life.try_act(&letter);
        if result.is_err() {
            life.look();
        }
        result
    });
    results.collect()
}

/// That nothing has been lost, whether or not the rest reaches the disk.
fn check(life: &mut Life, when: &str) {
    let log = life.cut();
    let (durable, loose) = at_cut(&life.start.1, &log, log.len());
    for kept in [false, true] {
        let (found, _) = life.reopen(&keep(&durable, &loose, &vec![kept; loose.len()]));
        life.model.check(&found, &|| format!("{when}, the rest kept: {kept}"));
    }
}

fn is_sticky(result: &Result<()>) -> bool {
    matches!(result, Err(Error::Failed { .. }))
}

#[test]
fn any_failing_call_on_the_delta_loses_nothing_flushed() {
    let calls = {
        let life = &mut Life::new();
        life.delta.fail(u64::MAX, Fault::Short);
        assert!(live(life).iter().all(Result::is_ok));
        life.delta.calls()
    };
    assert!(calls > 15, "{calls} calls are too few to say much");
    for call in 0..calls {
        for fault in FAULTS {
            let when = format!("{fault:?} in call {call}");
            let life = &mut Life::new();
            life.delta.fail(call, fault);
            let results = live(life);
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
            check(life, &when);
        }
    }
}

#[test]
fn any_failing_call_on_the_base_concerns_one_operation() {
    for call in 0.. {
        let mut hits = 0;
        for fault in FAULTS {
            let when = format!("{fault:?} in call {call}");
            let life = &mut Life::new();
            life.base.fail(call, fault);
            let results = live(life);
            let errors = results.iter().filter(|result| result.is_err()).count();
            let expected = matches!(fault, Fault::Errno(libc::EIO | libc::ENOSPC));
            assert!(errors <= usize::from(expected), "{when}: {results:?}");
            assert!(!results.iter().any(is_sticky), "{when}");
            hits += errors;
            check(life, &when);
        }
        if hits == 0 {
            assert!(call > 1, "the script reads the base");
            return;
        }
    }
}

#[test]
fn a_failed_sync_is_not_tried_again() {
    let life = &mut Life::new();
    life.act(&Letter::Write(0..8));
    // Of a flush: the data's sync, the bitmap's write, the bitmap's sync.
    life.delta.fail(2, Fault::Errno(libc::EIO));
    let first = life.try_act(&Letter::Flush).unwrap_err();
    let again = life.try_act(&Letter::Flush).unwrap_err();
    for error in [first, again] {
        let Error::Failed { source, .. } = &error else { panic!("{error:?}") };
        assert!(matches!(**source, Error::Sync { .. }), "{error:?}");
    }
    assert_eq!(life.delta.calls(), 3, "no call after the one that failed");
}

#[test]
fn a_bitmap_that_found_no_room_is_written_by_the_next_flush() {
    let life = &mut Life::new();
    life.act(&Letter::Write(0..8));
    life.delta.fail(1, Fault::Errno(libc::ENOSPC));
    let full = life.try_act(&Letter::Flush).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::NoSpace);
    life.act(&Letter::Flush);
    check(life, "after the second flush");
}
