//! Points in time as the store's files write them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

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

    /// The inverse of [`millis`](Timestamp::millis).
    pub fn from_millis(millis: i64) -> Timestamp {
        Timestamp(UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
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
