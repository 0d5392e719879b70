//! Whether to do something here and now, or to have it done while this thread goes on.
//!
//! Having a small thing done takes longer than doing it: somebody must be woken twice. But nobody
//! knows beforehand whether it will wait for the disk, so the last ones are asked: one slow one
//! among many is soon forgotten, while a disk that is slow each time is rarely asked again.

use std::time::{Duration, Instant};

/// Longer than that and others should not have to wait for it.
const SLOW: Duration = Duration::from_millis(1);
/// How many are had done elsewhere after a slow one.
const REST: u32 = 8;
/// And after a slow one that was done to see whether they still are.
const LONGEST_REST: u32 = 1024;

/// How things of one kind went that were done at once.
#[derive(Debug, Default)]
pub(crate) struct Quick {
    /// How many are still to be done elsewhere.
    rest: u32,
    /// How many were to be, after the last slow one; half of it with each quick one since.
    doubt: u32,
}

impl Quick {
    /// Whether the next one may be expected to be over at once.
    pub(crate) fn expected(&mut self) -> bool {
        let expected = self.rest == 0;
        self.rest = self.rest.saturating_sub(1);
        expected
    }

    /// Does `what`, and remembers how long it took.
    pub(crate) fn time<T>(&mut self, what: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = what();
        self.took(begun.elapsed());
        result
    }

    fn took(&mut self, time: Duration) {
        if time <= SLOW {
            self.doubt /= 2;
            return;
        }
        self.doubt = (self.doubt * 2).clamp(REST, LONGEST_REST);
        self.rest = self.doubt;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are done elsewhere before one is done at once again.
    fn elsewhere(quick: &mut Quick) -> u32 {
        let mut count = 0;
        while !quick.expected() {
            count += 1;
        }
        count
    }

    #[test]
    fn a_slow_one_sends_a_few_elsewhere() {
        let mut quick = Quick::default();
        assert_eq!(elsewhere(&mut quick), 0);
        quick.time(|| std::thread::sleep(2 * SLOW));
        assert_eq!(elsewhere(&mut quick), REST);
        assert_eq!(elsewhere(&mut quick), 0);
    }

    #[test]
    fn where_each_one_is_slow_few_are_tried() {
        let mut quick = Quick::default();
        let (mut tried, mut sent) = (0, 0);
        while sent < 10 * LONGEST_REST {
            quick.took(2 * SLOW);
            tried += 1;
            sent += elsewhere(&mut quick);
        }
        assert!(tried < 20, "{tried}");
    }

    #[test]
    fn one_slow_one_among_fifty_is_soon_forgotten() {
        let mut quick = Quick::default();
        for _ in 0..100 {
            quick.took(2 * SLOW);
            assert_eq!(elsewhere(&mut quick), REST);
            for _ in 0..50 {
                quick.took(SLOW / 2);
                assert_eq!(elsewhere(&mut quick), 0);
            }
        }
    }
}
