//! Samples to medians, minima and ratios; as a table for people, as JSON for programs.

use serde::Serialize;

use crate::samples::{least, median};

/// One figure of one contender over all rounds.
#[derive(Serialize)]
pub struct Row {
    pub what: &'static str,
    pub unit: &'static str,
    pub contender: String,
    pub median: f64,
    pub min: f64,
    /// offshoot's median by this contender's.
    pub ratio: f64,
    pub samples: usize,
}

/// Rows of one figure; the first contender is the one the others are compared with.
pub fn rows(what: &'static str, unit: &'static str, samples: &[(String, Vec<f64>)]) -> Vec<Row> {
    let ours = samples.first().map_or(f64::NAN, |(_, values)| median(values));
    let row = |(contender, values): &(String, Vec<f64>)| Row {
        what,
        unit,
        contender: contender.clone(),
        median: median(values),
        min: least(values),
        ratio: ours / median(values),
        samples: values.len(),
    };
    samples.iter().filter(|(_, values)| !values.is_empty()).map(row).collect()
}

/// In megabytes.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// In kibibytes.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

/// The table, then the same as one line of JSON.
pub fn print(rows: &[Row]) {
    println!(
        "{:<38} {:<22} {:>10} {:>10} {:>5} {:>9}",
        "figure", "of", "median", "min", "n", "ours/its"
    );
    for row in rows {
        println!(
            "{:<38} {:<22} {:>10.3} {:>10.3} {:>5} {:>9.3}",
            format!("{} [{}]", row.what, row.unit),
            row.contender,
            row.median,
            row.min,
            row.samples,
            row.ratio
        );
    }
    println!("{}", serde_json::to_string(rows).expect("rows are plain numbers and names"));
}
