//! Latencies, counted so that a percentile is right to 3 %: each power of two has 32 counters.

use alloc::vec;
use alloc::vec::Vec;

/// Counters for each power of two.
const PARTS: u64 = 32;
const PARTS_BITS: u32 = PARTS.ilog2();

/// How often each value was seen.
pub struct Histogram {
    counters: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        let powers = (u64::BITS - PARTS_BITS + 1) as usize;
        Histogram { counters: vec![0; powers * PARTS as usize], total: 0, max: 0 }
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
        found.map_or(0, |counter| last_value(counter as u64).min(self.max))
    }
}

/// Values below [`PARTS`] have a counter each; above, the bits after the highest one choose.
fn counter(value: u64) -> usize {
    let power = value.max(PARTS).ilog2() - PARTS_BITS;
    let part = value >> power;
    (u64::from(power) * PARTS + part) as usize
}

/// The largest value that a counter counts.
fn last_value(counter: u64) -> u64 {
    let power = (counter / PARTS).saturating_sub(1);
    let part = counter - power * PARTS;
    ((part + 1) << power).wrapping_sub(1)
}
