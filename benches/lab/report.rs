//! Figures, each with the goal of issue 4.

use std::time::Duration;

use serde::Serialize;

/// One figure.
#[derive(Serialize)]
pub struct Row {
    what: String,
    unit: &'static str,
    median: f64,
    least: f64,
    most: f64,
    samples: usize,
    /// The median is to be at most this.
    goal: Option<f64>,
}

impl Row {
    /// A figure of these samples.
    pub fn new(what: impl Into<String>, unit: &'static str, samples: &[f64]) -> Row {
        Row {
            what: what.into(),
            unit,
            median: median(samples),
            least: samples.iter().copied().fold(f64::INFINITY, f64::min),
            most: samples.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            samples: samples.len(),
            goal: None,
        }
    }

    /// What the median is to be at most.
    pub fn goal(self, goal: f64) -> Row {
        Row { goal: Some(goal), ..self }
    }

    fn verdict(&self) -> String {
        match self.goal {
            None => String::new(),
            Some(goal) if self.median <= goal => format!("goal {goal}: met"),
            Some(goal) => format!("goal {goal}: MISSED"),
        }
    }
}

/// How many times `theirs` `ours` takes, pair by pair, because both took turns.
pub fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
}

/// In milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// What the table begins with.
pub fn print_header() {
    println!("{:<52} {:>10} {:>10} {:>10} {:>4}", "figure", "median", "least", "most", "n");
}

/// More lines of the table.
pub fn print(rows: &[Row]) {
    for row in rows {
        println!(
            "{:<52} {:>10.2} {:>10.2} {:>10.2} {:>4}  {}",
            format!("{} [{}]", row.what, row.unit),
            row.median,
            row.least,
            row.most,
            row.samples,
            row.verdict()
        );
    }
}
