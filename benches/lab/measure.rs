//! Whole processes: how long they take, and how much of the processors.

use std::error::Error;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What one process took.
#[derive(Clone, Copy)]
pub struct Took {
    /// By the clock.
    pub wall: Duration,
    /// Of the processors, by it and all it waited for.
    pub cpu: Duration,
}

/// Runs a command, which must succeed, to its end. What it prints goes nowhere, for to read it would
/// be timed, too.
pub fn whole(command: &mut Command) -> Result<Took, Box<dyn Error>> {
    let before = children()?;
    let begin = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    let wall = begin.elapsed();
    if !status.success() {
        return Err(format!("{command:?} failed: {status}").into());
    }
    Ok(Took { wall, cpu: children()?.saturating_sub(before) })
}

/// Processor time of all children that have ended, in ticks of 10 ms: of use for what takes long.
fn children() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
