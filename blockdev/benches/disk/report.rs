//! Samples to medians, minima and ratios, and what was to be reached beside what was.

/// Whatever goes wrong ends the benchmark.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// One contender's samples of one figure.
#[derive(Default)]
struct Row {
    figure: String,
    contender: String,
    /// What the figure says, one for each round.
    samples: Vec<f64>,
    /// CPU time of each operation in microseconds, one for each round.
    cpu: Vec<f64>,
}

/// A figure that was to be reached.
struct Goal {
    what: String,
    bound: Bound,
    found: f64,
}

/// How a figure is bounded.
#[derive(Clone, Copy)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// All that one benchmark has to say.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
    goals: Vec<Goal>,
}

impl Report {
    /// Makes room for the samples of a contender, so that the table has this order.
    pub fn expect(&mut self, figure: &str, contender: &str) {
        self.row(figure, contender);
    }

    /// Takes in a sample of `figure`, whose name ends with its unit, and the CPU time of one
    /// operation in microseconds.
    pub fn add(&mut self, figure: &str, contender: &str, sample: f64, cpu: f64) {
        let row = self.row(figure, contender);
        row.samples.push(sample);
        row.cpu.push(cpu);
    }

    fn row(&mut self, figure: &str, contender: &str) -> &mut Row {
        let is_it = |row: &Row| row.figure == figure && row.contender == contender;
        let index = self.rows.iter().position(is_it).unwrap_or(self.rows.len());
        if index == self.rows.len() {
            let (figure, contender) = (figure.into(), contender.into());
            self.rows.push(Row { figure, contender, ..Row::default() });
        }
        &mut self.rows[index]
    }

    /// The median of what has been added.
    pub fn median(&self, figure: &str, contender: &str) -> f64 {
        median(self.samples(figure, contender))
    }

    /// `ours` by `theirs`: the median over the rounds where they raced, since what slows the
    /// machine down for a while slows both; else of the medians.
    pub fn ratio(&self, figure: &str, ours: &str, theirs: &str) -> f64 {
        let (ours, theirs) = (self.samples(figure, ours), self.samples(figure, theirs));
        if ours.len() != theirs.len() {
            return median(ours) / median(theirs);
        }
        let pairs = ours.iter().zip(theirs);
        median(&pairs.map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>())
    }

    fn samples(&self, figure: &str, contender: &str) -> &[f64] {
        let row = self.rows.iter().find(|row| row.figure == figure && row.contender == contender);
        row.map_or(&[], |row| &row.samples)
    }

    /// Says what was to be reached and what was.
    pub fn goal(&mut self, what: &str, bound: Bound, found: f64) {
        self.goals.push(Goal { what: what.into(), bound, found });
    }

    /// The rows, those of one figure together; the first of a figure is what `ratio` is to.
    pub fn print(&self) {
        let head = ["figure", "of", "median", "min", "max", "ratio", "CPU us/op"];
        let [figure, of, median_, min, max, ratio, cpu] = head;
        println!("{figure:<40} {of:<22} {median_:>10} {min:>10} {max:>10} {ratio:>7} {cpu:>10}");
        let mut figures: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !figures.contains(&row.figure.as_str()) {
                figures.push(&row.figure);
            }
        }
        for figure in figures {
            let rows = self.rows.iter().filter(|row| row.figure == figure);
            let first = rows.clone().next().map_or(f64::NAN, |row| median(&row.samples));
            rows.for_each(|row| row.print(first));
        }
        self.goals.iter().for_each(Goal::print);
        println!();
    }
}

impl Row {
    fn print(&self, first: f64) {
        let min = self.samples.iter().copied().fold(f64::INFINITY, f64::min);
        let max = self.samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let middle = median(&self.samples);
        let cpu = if self.cpu.is_empty() { String::new() } else { short(median(&self.cpu)) };
        let [middle_, min, max, ratio] = [middle, min, max, middle / first].map(short);
        println!(
            "{:<40} {:<22} {middle_:>10} {min:>10} {max:>10} {ratio:>7} {cpu:>10}",
            self.figure, self.contender
        );
    }
}

impl Goal {
    fn print(&self) {
        let (met, bound) = match self.bound {
            Bound::AtLeast(least) => (self.found >= least, format!(">= {}", short(least))),
            Bound::AtMost(most) => (self.found <= most, format!("<= {}", short(most))),
        };
        let verdict = if met { "met" } else { "MISSED" };
        println!("goal: {:<64} {bound:>9}: {:>8} {verdict}", self.what, short(self.found));
    }
}

/// Three digits or so.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// The middle of `values`.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The value below which `share` of `values` lie.
#[expect(clippy::cast_possible_truncation, reason = "an index")]
#[expect(clippy::cast_sign_loss, reason = "an index")]
#[expect(clippy::cast_precision_loss, reason = "fewer values than that")]
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
