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

    /// This place, or, if it is just behind the header of a page, the end of the page before: where the
    /// next record will be is not where the last one ended. Headers have 24 or 40 bytes.
    #[must_use]
    pub const fn before_page_header(self, page: u64) -> Self {
        match self.0 % page {
            24 | 40 => Self(self.0 - self.0 % page),
            _ => self,
        }
    }
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
    fn nothing_is_waited_for_in_the_header_of_a_page() {
        for (at, before) in [(8192 + 24, 8192), (40, 0), (8192, 8192), (8192 + 48, 8192 + 48)] {
            assert_eq!(Lsn(at).before_page_header(8192), Lsn(before));
        }
    }

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
