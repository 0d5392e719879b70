//! How hard an operation works beside a guest.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::copy::Watch;
use crate::{Error, Result};

/// How hard an operation on layers works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it can: nobody else uses the disk.
    #[default]
    Full,
    /// A small part at a time, then idle for three times as long: a guest's requests wait for one
    /// part at most, and have the host's disk to themselves most of the time.
    Beside,
}

impl Pace {
    /// Bytes between two looks at who is waiting.
    pub(super) fn part(self) -> u64 {
        match self {
            Pace::Full => 1 << 20,
            Pace::Beside => 64 << 10,
        }
    }
}

/// An operation's way from start to end.
pub(super) struct Progress<'a> {
    pace: Pace,
    watch: Watch<'a>,
    all: u64,
}

/// The longest an operation idles after one part, however slow the disk.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

impl<'a> Progress<'a> {
    pub(super) fn new(pace: Pace, all: u64, watch: Watch<'a>) -> Self {
        Progress { pace, watch, all }
    }

    /// Does one part, which ends at byte `at` of what `all` was said to be; whether it has moved
    /// any bytes is its answer.
    pub(super) fn step(&mut self, at: u64, part: impl FnOnce() -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        let moved = part()?;
        if moved && self.pace == Pace::Beside {
            std::thread::sleep((begun.elapsed() * 3).min(LONGEST_PAUSE));
        }
        match (self.watch)(at.min(self.all), self.all) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Interrupted),
        }
    }
}
