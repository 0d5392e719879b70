//! What came of the demo, for people and for programs.

use std::time::Duration;

use anyhow::Result;
use serde::{Serialize, Serializer};

use super::fleet::Ship;
use crate::cmd::ls::bytes_on_disk;
use crate::failure;
use crate::output::human;
use crate::output::table::{self, Align};
use crate::store::{Image, Name};

/// The whole result. The keys are stable.
#[derive(Serialize)]
pub struct Report {
    clones: Vec<Row>,
    base: Base,
    /// What the guests' disks are long, together.
    virtual_bytes: u64,
    /// What base and deltas take on the disk.
    real_bytes: u64,
    #[serde(rename = "seconds", serialize_with = "seconds")]
    took: Duration,
}

/// One clone.
#[derive(Serialize)]
struct Row {
    name: Name,
    #[serde(rename = "create_ms", serialize_with = "millis")]
    create: Duration,
    /// From exec of the monitor to the first instruction, first start.
    #[serde(rename = "first_instruction_ms", serialize_with = "optional_millis")]
    first: Option<Duration>,
    /// The same, second start.
    #[serde(rename = "second_start_ms", serialize_with = "optional_millis")]
    second: Option<Duration>,
    verified: bool,
    error: Option<String>,
    delta_bytes: u64,
}

#[derive(Serialize)]
struct Base {
    digest: String,
    bytes: u64,
    unchanged: bool,
    error: Option<String>,
}

impl Report {
    /// Puts together what is known of the ships, and of the base after they came back.
    pub fn new(image: &Image, ships: Vec<Ship>, after: &Result<Image>, took: Duration) -> Report {
        let clones: Vec<Row> = ships.into_iter().map(Row::new).collect();
        let identity = &image.record.base;
        let count = clones.len() as u64;
        let deltas: u64 = clones.iter().map(|row| row.delta_bytes).sum();
        Report {
            virtual_bytes: count * identity.size,
            real_bytes: deltas + bytes_on_disk(&image.base().path),
            clones,
            base: Base {
                digest: identity.digest.clone(),
                bytes: identity.size,
                unchanged: after.is_ok(),
                error: after.as_ref().err().map(failure::text),
            },
            took,
        }
    }

    /// Whether every clone found its own data and the base is what it was.
    pub fn all_well(&self) -> bool {
        self.base.unchanged && self.clones.iter().all(|row| row.verified)
    }

    /// A table and one line.
    pub fn lay_out(&self) -> String {
        let (left, right) = (Align::Left, Align::Right);
        let header = [
            ("CLONE", left),
            ("CREATED IN", right),
            ("FIRST INSTRUCTION", right),
            ("SECOND START", right),
            ("DELTA", right),
            ("RESULT", left),
        ];
        let time = |time: Option<Duration>| time.map_or("-".into(), human::precise);
        let rows = self.clones.iter().map(|row| {
            [
                row.name.to_string(),
                human::precise(row.create),
                time(row.first),
                time(row.second),
                human::bytes(row.delta_bytes),
                row.error.clone().unwrap_or_else(|| "own data found, twice".into()),
            ]
        });
        format!("{}\n{}\n", table::lay_out(header, rows), self.summary())
    }

    fn summary(&self) -> String {
        let base = match &self.base.error {
            None => format!("base unchanged ({})", human::digest(&self.base.digest)),
            Some(error) => format!("BASE CHANGED: {error}"),
        };
        let verified = self.clones.iter().filter(|row| row.verified).count();
        format!(
            "{base}; {verified} of {} clones verified in {:.1} s; {} of disks in {} on disk",
            self.clones.len(),
            self.took.as_secs_f64(),
            human::bytes(self.virtual_bytes),
            human::bytes(self.real_bytes),
        )
    }
}

impl Row {
    fn new(ship: Ship) -> Row {
        let mut starts = ship.first_instruction.into_iter();
        let (first, second) = (starts.next(), starts.next());
        Row {
            delta_bytes: bytes_on_disk(&ship.vm.delta()),
            name: ship.vm.record.name,
            create: ship.create,
            first,
            second,
            verified: ship.error.is_none() && second.is_some(),
            error: ship.error,
        }
    }
}

fn millis<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64() * 1e3)
}

#[allow(clippy::ref_option, reason = "serde's signature")]
fn optional_millis<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64() * 1e3).serialize(to)
}

fn seconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}
