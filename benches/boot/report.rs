//! Samples to medians, minima and ratios; as a table for people, as JSON for programs.

use std::time::Duration;

use serde::Serialize;

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
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        ratio: ours / median(values),
        samples: values.len(),
    };
    samples.iter().filter(|(_, values)| !values.is_empty()).map(row).collect()
}

/// In milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
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

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
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
