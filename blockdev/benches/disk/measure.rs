//! Time and CPU time of some operations.
#![allow(unsafe_code, reason = "rustix has no getrusage")]

use std::time::{Duration, Instant};

use crate::report::Result;

/// What some operations took.
#[derive(Clone, Copy, Default)]
pub struct Cost {
    pub count: u64,
    pub time: Duration,
    pub cpu: Duration,
}

/// Whose CPU time.
#[derive(Clone, Copy)]
pub enum Who {
    /// This process, with the kernel's threads that work for it.
    Us,
    /// Processes that have been waited for.
    Children,
}

impl Cost {
    /// Of the `count` operations that `work` does.
    pub fn of(count: u64, work: impl FnOnce() -> Result<()>) -> Result<Cost> {
        let (cpu, begun) = (cpu_time(Who::Us), Instant::now());
        work()?;
        let time = begun.elapsed();
        Ok(Cost { count, time, cpu: cpu_time(Who::Us).saturating_sub(cpu) })
    }

    /// Without what `start` took already.
    pub fn without(self, start: Cost) -> Cost {
        Cost {
            count: self.count - start.count,
            time: self.time.saturating_sub(start.time),
            cpu: self.cpu.saturating_sub(start.cpu),
        }
    }

    /// Thousands of operations in a second.
    pub fn kiops(self) -> f64 {
        self.count_f64() / self.time.as_secs_f64() / 1e3
    }

    /// Bytes in a nanosecond, at `each` bytes an operation.
    pub fn gbps(self, each: u64) -> f64 {
        self.kiops() * precise(each) / 1e6
    }

    /// Microseconds from one operation to the next.
    pub fn us(self) -> f64 {
        self.time.as_secs_f64() * 1e6 / self.count_f64()
    }

    /// CPU time of each operation in microseconds.
    pub fn cpu_us(self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.count_f64()
    }

    fn count_f64(self) -> f64 {
        precise(self.count)
    }
}

/// As a float.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn precise(number: u64) -> f64 {
    number as f64
}

/// User and system time so far.
pub fn cpu_time(who: Who) -> Duration {
    let who = match who {
        Who::Us => libc::RUSAGE_SELF,
        Who::Children => libc::RUSAGE_CHILDREN,
    };
    // SAFETY: all zeroes is a valid `rusage`: plain numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid place for the answer.
    let result = unsafe { libc::getrusage(who, &raw mut usage) };
    assert_eq!(result, 0, "there is no other reason to fail than a wrong `who`");
    [usage.ru_utime, usage.ru_stime].map(duration).iter().sum()
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec.cast_unsigned())
        + Duration::from_micros(time.tv_usec.cast_unsigned())
}
