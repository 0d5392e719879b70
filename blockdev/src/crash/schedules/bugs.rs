//! What the scenarios must find when it is there.

use super::disk::{bits, compact, failure, flatten, flushes, overlap, snapshot};
use super::parts::{gate_closed, gate_opened, ranges, sharing};
use super::worker::{flushed, reopened};
use super::{Scenario, fails};
use crate::seeded::{Bug, Written, seed};

const BUGS: [(Bug, Scenario); 23] = [
    (Bug::NoRangeLock, overlap),
    (Bug::HeadForgotten, overlap),
    (Bug::NoRangeLock, ranges),
    (Bug::ReleaseWakesNobody, ranges),
    (Bug::BitBeforeWrite, bits),
    (Bug::LiveBitmap, bits),
    (Bug::NoSyncAfter(Written::Data), bits),
    (Bug::NoSyncAfter(Written::Bitmap), bits),
    (Bug::FlushDoesNotWait, flushes),
    (Bug::JoinsRunningCommit, flushes),
    (Bug::JoinsRunningCommit, sharing),
    (Bug::CommitsAlone, sharing),
    (Bug::ErrorForgotten, failure),
    (Bug::GateStaysOpen, snapshot),
    (Bug::TopDoesNotWait, snapshot),
    (Bug::LeavesUnseen, gate_closed),
    (Bug::LeavesUnseen, gate_opened),
    (Bug::RefusedTooLate, gate_closed),
    (Bug::CompactDoesNotLock, compact),
    (Bug::RelinkBeforeFlush, flatten),
    (Bug::DoneTooLate, flushed),
    (Bug::NoSyncAfter(Written::Data), flushed),
    (Bug::TopDoesNotWait, reopened),
];

#[test]
fn each_seeded_bug_is_found_in_some_order() {
    let missed = BUGS.into_iter().filter(|&(bug, scenario)| {
        seed(Some(bug));
        let found = fails(scenario);
        seed(None);
        println!("{bug:?}: found {found}");
        !found
    });
    let missed: Vec<Bug> = missed.map(|(bug, _)| bug).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
