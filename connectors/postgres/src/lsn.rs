//! Positions in the write-ahead log.

use std::fmt;
use std::str::FromStr;

/// A byte position in the write-ahead log: 64 bits, shown as `16/B374D848`
/// (<https://www.postgresql.org/docs/current/datatype-pg-lsn.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Where no log begins.
    pub const ZERO: Self = Self(0);
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// A text is no LSN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an LSN, as in 16/B374D848")]
pub struct WrongLsn(String);

impl FromStr for Lsn {
    type Err = WrongLsn;

    fn from_str(text: &str) -> Result<Self, WrongLsn> {
        let part = |part: &str| u32::from_str_radix(part, 16).ok();
        text.split_once('/')
            .and_then(|(high, low)| Some((part(high)?, part(low)?)))
            .map(|(high, low)| Self(u64::from(high) << 32 | u64::from(low)))
            .ok_or_else(|| WrongLsn(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_go_there_and_back() {
        for (text, lsn) in [("0/0", 0), ("16/B374D848", 0x16_B374_D848), ("0/1A8B3E8", 27_833_320)]
        {
            assert_eq!(text.parse(), Ok(Lsn(lsn)));
            assert_eq!(Lsn(lsn).to_string(), text);
        }
        for wrong in ["", "1", "1/", "/1", "1/x", "123456789/0", "0/1/2"] {
            assert!(wrong.parse::<Lsn>().is_err(), "{wrong}");
        }
    }
}
