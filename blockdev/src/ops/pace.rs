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

/// What was done up to a byte.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Nothing had to be read or written.
    Looked(u64),
    /// The host's disk was used.
    Moved(u64),
}

impl Step {
    fn end(self) -> u64 {
        let (Step::Looked(end) | Step::Moved(end)) = self;
        end
    }
}

/// The longest an operation idles after one part, however slow the disk.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

impl<'a> Progress<'a> {
    pub(super) fn new(pace: Pace, all: u64, watch: Watch<'a>) -> Self {
        Progress { pace, watch, all }
    }

    /// Does one part of all there is, from byte `at` on, and returns where it ended.
    pub(super) fn step(&mut self, at: u64, part: impl FnOnce() -> Result<Step>) -> Result<u64> {
        let begun = Instant::now();
        let step = part()?;
        if matches!(step, Step::Moved(_)) && self.pace == Pace::Beside {
            std::thread::sleep((begun.elapsed() * 3).min(LONGEST_PAUSE));
        }
        match (self.watch)(at.min(self.all), self.all) {
            ControlFlow::Continue(()) => Ok(step.end()),
            ControlFlow::Break(()) => Err(Error::Interrupted),
        }
    }
}
