//! Addresses of network devices.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A MAC address. Written as `02:00:5e:10:00:01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

/// Of the first byte: addresses nobody bought.
const LOCAL: u8 = 0b10;
/// Of the first byte: addresses of many.
const MULTICAST: u8 = 0b01;

impl Mac {
    /// The locally administered unicast address that these bytes make. Two bits of the first are
    /// not theirs to choose.
    pub fn local(mut bytes: [u8; 6]) -> Mac {
        bytes[0] = (bytes[0] | LOCAL) & !MULTICAST;
        Mac(bytes)
    }

    /// Its bytes, as they stand on the wire.
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        let bad = || format!("{text:?} is no MAC address, as 02:00:5e:10:00:01");
        let byte = |digits: &str| match digits.len() {
            2 if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
                u8::from_str_radix(digits, 16).ok()
            }
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.split(':').map(byte).collect();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Mac).ok_or_else(bad)
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Mac, String> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_make_a_local_unicast_address() {
        for first in 0..=255 {
            let [first, ..] = Mac::local([first, 1, 2, 3, 4, 5]).bytes();
            assert_eq!(first & 0b11, LOCAL);
        }
    }

    #[test]
    fn an_address_is_read_as_it_is_written_and_nothing_else_is() {
        let mac = Mac::local([0xfe, 0, 0x5e, 0x10, 0xab, 1]);
        assert_eq!(mac.to_string().parse(), Ok(mac));
        for bad in
            ["", "02:00:5e:10:00", "02:00:5e:10:00:01:02", "+2:00:5e:10:00:01", "2:0:5e:1:0:1"]
        {
            assert!(bad.parse::<Mac>().is_err(), "{bad:?}");
        }
    }
}
