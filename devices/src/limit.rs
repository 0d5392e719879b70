//! Log lines a guest can cause, at a rate it cannot drive up.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(5);

/// Lets one line through per interval and counts the others.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    /// When the last line passed, and how many were held back since.
    last: Mutex<Option<(Instant, u64)>>,
}

impl LogLimit {
    /// Logs `line()` as a warning unless another was logged a moment ago.
    pub fn warn(&self, line: impl FnOnce() -> String) {
        match self.admit(Instant::now()) {
            Some(0) => log::warn!("{}", line()),
            Some(held_back) => log::warn!("{} ({held_back} more like this)", line()),
            None => {}
        }
    }

    /// Whether a line may pass at `now`: how many were held back before it.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *last {
            Some((at, held_back)) if now.duration_since(*at) < INTERVAL => {
                *held_back = held_back.saturating_add(1);
                None
            }
            _ => last.replace((now, 0)).map_or(Some(0), |(_, held_back)| Some(held_back)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_passes_and_tells_of_the_others() {
        let limit = LogLimit::default();
        let start = Instant::now();
        assert_eq!(limit.admit(start), Some(0));
        assert_eq!(limit.admit(start), None);
        assert_eq!(limit.admit(start + INTERVAL / 2), None);
        assert_eq!(limit.admit(start + INTERVAL), Some(2));
        assert_eq!(limit.admit(start + INTERVAL * 3), Some(0));
    }
}
