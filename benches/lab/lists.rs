//! Looking at a thousand VMs.

use std::error::Error;

use crate::report::Row;
use crate::samples::ms;
use crate::store::Store;

/// `ls` and `tree`, for people and for programs. Of their processor time, which is counted in steps of
/// 10 ms, the mean is told.
pub fn measure(rounds: usize) -> Result<Vec<Row>, Box<dyn Error>> {
    let store = Store::with_base()?;
    store.run(["clone", "base", "-n", "1000"])?;
    let commands = [
        ["ls", "--format", "table"],
        ["ls", "--format", "json"],
        ["tree", "--format", "table"],
        ["tree", "--format", "json"],
    ];
    let mut times = commands.map(|_| (Vec::new(), 0.0));
    for _ in 0..rounds {
        for ((wall, cpu), command) in times.iter_mut().zip(commands) {
            let took = store.run(command)?;
            wall.push(ms(took.wall));
            *cpu += ms(took.cpu);
        }
    }
    let runs = f64::from(u32::try_from(rounds)?);
    let rows = times.into_iter().zip(commands).flat_map(|((wall, cpu), [verb, _, format])| {
        let what = format!("{verb} of 1000 VMs, {format}");
        let mean = Row::new(format!("{what}, CPU, mean"), "ms", &[cpu / runs]);
        [Row::new(what, "ms", &wall).goal(50.0), mean]
    });
    Ok(rows.collect())
}
