//! Points in time as the store's files write them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The last millisecond of the year 9999, in milliseconds since 1970.
const LAST: u64 = 253_402_300_799_999;

/// A point in time, to the millisecond. Written as RFC 3339, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(SystemTime);

impl Timestamp {
    /// Now, by the host's clock.
    pub fn now() -> Timestamp {
        Timestamp(SystemTime::now())
    }

    /// Milliseconds since 1970, as the inventory holds it.
    pub fn millis(self) -> i64 {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// The inverse of [`millis`](Timestamp::millis). A damaged inventory may say anything: what
    /// cannot be written with four digits for the year is the last that can.
    pub fn from_millis(millis: i64) -> Timestamp {
        let millis = u64::try_from(millis).unwrap_or(0).min(LAST);
        Timestamp(UNIX_EPOCH + Duration::from_millis(millis))
    }

    /// So long before now; `None` where that was before there was time.
    pub fn ago(age: Duration) -> Option<Timestamp> {
        SystemTime::now().checked_sub(age).map(Timestamp)
    }

    /// How long ago it was; zero for what lies ahead, as after the clock was set back.
    pub fn age(self) -> Duration {
        self.0.elapsed().unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(self.0).fmt(f)
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> String {
        time.to_string()
    }
}

impl TryFrom<String> for Timestamp {
    type Error = humantime::TimestampError;

    fn try_from(text: String) -> Result<Timestamp, Self::Error> {
        humantime::parse_rfc3339(&text).map(Timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_inventory_says_can_be_written() {
        assert_eq!(Timestamp::from_millis(-1).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_millis(i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }
}
