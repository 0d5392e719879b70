//! Looking at a thousand VMs.

use std::error::Error;

use crate::report::{Row, ms};
use crate::store::Store;

/// `ls` and `tree`, for people and for programs.
pub fn measure(rounds: usize) -> Result<Vec<Row>, Box<dyn Error>> {
    let store = Store::with_base()?;
    store.run(["clone", "base", "-n", "1000"])?;
    let commands = [
        ["ls", "--format", "table"],
        ["ls", "--format", "json"],
        ["tree", "--format", "table"],
        ["tree", "--format", "json"],
    ];
    let mut times = commands.map(|_| Vec::new());
    for _ in 0..rounds {
        for (times, command) in times.iter_mut().zip(commands) {
            times.push(ms(store.run(command)?.wall));
        }
    }
    let row = |(times, [verb, _, format]): (Vec<f64>, [&str; 3])| {
        Row::new(format!("{verb} of 1000 VMs, {format}"), "ms", &times).goal(50.0)
    };
    Ok(times.into_iter().zip(commands).map(row).collect())
}
