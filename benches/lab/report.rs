//! Figures, each with the goal of issue 4.

use serde::Serialize;

use crate::samples::{least, median};

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
            least: least(samples),
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
