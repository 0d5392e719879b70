//! Latencies, counted so that a percentile is right to 3 %: each power of two has 32 counters.

use alloc::vec;
use alloc::vec::Vec;

/// Counters for each power of two.
const PARTS: usize = 1 << PARTS_BITS;
const PARTS_BITS: u32 = 5;

/// How often each value was seen.
pub struct Histogram {
    counters: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        let powers = (u64::BITS - PARTS_BITS + 1) as usize;
        Histogram { counters: vec![0; powers * PARTS], total: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        self.counters[counter(value)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// Counts what another counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, others) in self.counters.iter_mut().zip(&other.counters) {
            *mine += others;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The largest.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value that `thousandths` of all values do not exceed, rounded up by 3 % at most.
    #[must_use]
    pub fn percentile(&self, thousandths: u64) -> u64 {
        let rank = (self.total * thousandths).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.counters.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map_or(0, |counter| last_value(counter).min(self.max))
    }
}

/// Values below [`PARTS`] have a counter each; above, the [`PARTS_BITS`] bits after the highest
/// one choose.
#[allow(clippy::cast_possible_truncation, reason = "a part is below 2 * PARTS")]
fn counter(value: u64) -> usize {
    let power = (value | PARTS as u64).ilog2() - PARTS_BITS;
    power as usize * PARTS + (value >> power) as usize
}

/// The largest value that a counter counts.
fn last_value(counter: usize) -> u64 {
    let power = (counter / PARTS).saturating_sub(1);
    let part = (counter - power * PARTS) as u64;
    ((part + 1) << power).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_close() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|value| histogram.add(value));
        for (thousandths, exact) in [(1, 100), (500, 50_000), (990, 99_000), (1000, 100_000)] {
            let found = histogram.percentile(thousandths);
            assert!((exact..=exact + exact / 32).contains(&found), "{thousandths}: {found}");
        }
        assert_eq!(histogram.max(), 100_000);
    }

    #[test]
    fn small_values_are_exact_and_large_ones_fit() {
        for value in [0, 1, 31, 32, 63, u64::MAX] {
            let mut histogram = Histogram::default();
            histogram.add(value);
            assert_eq!(histogram.percentile(500), value);
        }
    }

    #[test]
    fn merged_counts_are_as_counted_together() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        (0..50).for_each(|_| one.add(10));
        (0..50).for_each(|_| other.add(20));
        one.merge(&other);
        assert_eq!((one.percentile(500), one.percentile(510), one.max()), (10, 20, 20));
    }

    #[test]
    fn nothing_counted_is_zero() {
        assert_eq!(Histogram::default().percentile(999), 0);
    }
}
