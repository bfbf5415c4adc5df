//! What the configuration chooses about values: Debezium's handling modes.

use bytes::Bytes;
use towpath_sdk::config::ConfigEnum;
use towpath_sdk::java_text::UNAVAILABLE;
use towpath_sdk::{Error, Result, Text};

/// `decimal.handling.mode`: how `numeric` and `money` are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, ConfigEnum)]
#[config(ignore_case)]
pub enum DecimalMode {
    /// Exactly, as Connect's Decimal, or with its own scale in each value where the column has none.
    #[default]
    Precise,
    /// As doubles, which may round.
    Double,
    /// As text.
    String,
}

/// `time.precision.mode`: how `date`, `time` and `timestamp` are shown, and, with `structured`, `timetz`,
/// `timestamptz` and `interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, ConfigEnum)]
#[config(ignore_case)]
pub enum TimePrecision {
    /// In milliseconds up to a precision of 3, else in microseconds.
    #[default]
    Adaptive,
    /// As `adaptive`, but times of day always in microseconds.
    AdaptiveTimeMicroseconds,
    /// As Connect's Date, Time and Timestamp, in milliseconds.
    Connect,
    /// As ISO 8601 text in UTC.
    Isostring,
    /// In microseconds.
    Microseconds,
    /// In nanoseconds.
    Nanoseconds,
    /// As structs with the parts of a value, of all types of times and of intervals.
    Structured,
}

/// `interval.handling.mode`: how `interval` is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, ConfigEnum)]
#[config(ignore_case)]
pub enum IntervalMode {
    /// In microseconds, a month having 365.25 / 12 days.
    #[default]
    Numeric,
    /// As ISO 8601 text, `P1Y2M3DT4H5M6.78S`.
    String,
}

/// `hstore.handling.mode`: how `hstore` is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, ConfigEnum)]
#[config(ignore_case)]
pub enum HstoreMode {
    /// As a JSON object in a text.
    #[default]
    Json,
    /// As a map.
    Map,
}

/// `binary.handling.mode`: how `bytea` is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, ConfigEnum)]
#[config(ignore_case)]
pub enum BinaryMode {
    /// As bytes.
    #[default]
    Bytes,
    /// As text in base64.
    Base64,
    /// As text in base64 with `-` and `_`.
    #[config(name = "base64-url-safe")]
    Base64UrlSafe,
    /// As text in hexadecimal.
    Hex,
}

/// What happens to columns of types that Debezium has no mapping for: composite types, multiranges,
/// ranges of one's own, `pg_lsn`, `tsquery` and the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, ConfigEnum)]
#[config(ignore_case)]
pub enum UnknownTypes {
    /// They are left out, as Debezium does by default.
    #[default]
    Drop,
    /// They are shown as the server's text. So are the elements of arrays that Debezium leaves out.
    Text,
    /// The server's text as binary data in the `binary.handling.mode`, as Debezium does with
    /// `include.unknown.datatypes`.
    Opaque,
}

/// All modes.
#[derive(Debug, Clone, Default)]
pub struct Modes {
    /// `decimal.handling.mode`.
    pub decimal: DecimalMode,
    /// `time.precision.mode`.
    pub time: TimePrecision,
    /// `interval.handling.mode`.
    pub interval: IntervalMode,
    /// `hstore.handling.mode`.
    pub hstore: HstoreMode,
    /// `binary.handling.mode`.
    pub binary: BinaryMode,
    /// `money.fraction.digits`: the scale of `money` as a decimal. Debezium's default is 2.
    pub money_fraction_digits: u16,
    /// Types without a mapping.
    pub unknown: UnknownTypes,
    /// `unavailable.value.placeholder`.
    pub placeholder: Placeholder,
}

/// `unavailable.value.placeholder`: what stands for a value that an UPDATE left alone and that is
/// not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    bytes: Bytes,
    text: Text,
}

impl Placeholder {
    /// The placeholder that the configuration writes: text, or bytes in hexadecimal after `hex:`.
    ///
    /// # Errors
    /// If what follows `hex:` is not in hexadecimal.
    pub fn parse(written: &str) -> Result<Self> {
        let bytes = match written.strip_prefix("hex:") {
            Some(hex) => super::binary::from_hex(hex.as_bytes())
                .map(Bytes::from)
                .ok_or_else(|| Error::config("not in hexadecimal after 'hex:'"))?,
            None => Bytes::copy_from_slice(written.as_bytes()),
        };
        let text = String::from_utf8_lossy(&bytes).into_owned().into();
        Ok(Self { bytes, text })
    }

    /// As bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// As text. Bytes that are no UTF-8 show as U+FFFD.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.text
    }
}

impl Default for Placeholder {
    fn default() -> Self {
        Self {
            bytes: Bytes::from_static(UNAVAILABLE.as_bytes()),
            text: Text::from_static(UNAVAILABLE),
        }
    }
}

#[cfg(test)]
mod tests {
    use towpath_sdk::config::ConfigValue;

    use super::*;

    #[test]
    fn modes_are_written_as_debezium_writes_them() {
        assert_eq!(BinaryMode::parse_value("base64-url-safe"), Ok(BinaryMode::Base64UrlSafe));
        assert_eq!(TimePrecision::parse_value("ISOSTRING"), Ok(TimePrecision::Isostring));
        assert_eq!(
            TimePrecision::parse_value("adaptive_time_microseconds"),
            Ok(TimePrecision::AdaptiveTimeMicroseconds)
        );
        assert_eq!(TimePrecision::Nanoseconds.to_string(), "nanoseconds");
        assert_eq!(HstoreMode::parse_value("map"), Ok(HstoreMode::Map));
    }

    #[test]
    fn a_placeholder_is_text_or_bytes() {
        assert_eq!(
            Placeholder::parse("__debezium_unavailable_value").unwrap(),
            Placeholder::default()
        );
        let hex = Placeholder::parse("hex:00ff41").unwrap();
        assert_eq!((&hex.bytes()[..], &**hex.text()), (&[0, 0xff, b'A'][..], "\0\u{FFFD}A"));
        assert!(Placeholder::parse("hex:0").is_err() && Placeholder::parse("hex:zz").is_err());
    }
}
