//! Whether to do something here and now, or to have it done while this thread goes on.
//!
//! Having a small thing done takes longer than doing it: somebody must be woken twice. But nobody
//! knows beforehand whether a write will wait for the disk, so the last ones are asked.

use std::time::{Duration, Instant};

/// Longer than that and others should not have to wait for it.
const SLOW: Duration = Duration::from_millis(1);
/// How many are had done elsewhere after a slow one.
const REST: u32 = 100;

/// How things of one kind went that were done at once.
#[derive(Debug, Default)]
pub(crate) struct Quick {
    /// How many are still to be done elsewhere.
    rest: u32,
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
        if begun.elapsed() > SLOW {
            self.rest = REST;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_one_sends_the_next_ones_elsewhere() {
        let mut quick = Quick::default();
        assert!(quick.expected() && quick.expected());
        quick.time(|| {
            let begun = Instant::now();
            while begun.elapsed() <= SLOW {}
        });
        assert!((0..REST).all(|_| !quick.expected()) && quick.expected());
    }
}
