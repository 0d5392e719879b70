//! Several do the same work in turn, round after round.

use crate::measure::Cost;
use crate::report::{Report, Result};

/// Somebody who does the work: round in, what it took out.
pub struct Contender<'a> {
    name: String,
    run: Box<dyn FnMut(u64) -> Result<Cost> + 'a>,
}

impl<'a> Contender<'a> {
    pub fn new(
        name: impl Into<String>,
        run: impl FnMut(u64) -> Result<Cost> + 'a,
    ) -> Contender<'a> {
        Contender { name: name.into(), run: Box::new(run) }
    }

    /// The same, doing each round's work twice, and only the second time counts: then the
    /// processor's caches hold what they can.
    pub fn twice(mut self) -> Contender<'a> {
        let run = move |round| (self.run)(round).and_then(|_| (self.run)(round));
        Contender { name: self.name, run: Box::new(run) }
    }

    /// The same, doing `first` before each round's work.
    pub fn after(mut self, first: impl Fn() -> Result<()> + 'a) -> Contender<'a> {
        let run = move |round| first().and_then(|()| (self.run)(round));
        Contender { name: self.name, run: Box::new(run) }
    }
}

/// Lets each of `contenders` do its work once in each of `rounds`, another one first each time;
/// `sample` makes the figure of what it took.
pub fn race(
    report: &mut Report,
    figure: &str,
    rounds: usize,
    sample: impl Fn(Cost) -> f64,
    mut contenders: Vec<Contender<'_>>,
) -> Result<()> {
    contenders.iter().for_each(|contender| report.expect(figure, &contender.name));
    for round in 0..rounds {
        let count = contenders.len();
        for index in 0..count {
            let contender = &mut contenders[(index + round) % count];
            let cost = (contender.run)(round as u64)?;
            report.add(figure, &contender.name, sample(cost), cost.cpu_us());
        }
    }
    Ok(())
}
