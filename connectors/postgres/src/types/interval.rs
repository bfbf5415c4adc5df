//! `interval`.

use bytes::Bytes;
use towpath_sdk::schema::{Kind, Schema};
use towpath_sdk::value::Value;
use towpath_sdk::{Error, Result, Text};

use super::calendar::Reader;
use super::default::Written;
use super::form::{Binary, Form, named};
use super::modes::IntervalMode;
use super::number::integer;
use super::slice::Slice;

const SECOND: i64 = 1_000_000;

/// An interval as the server writes it in `IntervalStyle=postgres`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Interval {
    pub(super) years: i64,
    pub(super) months: i64,
    pub(super) days: i64,
    pub(super) hours: i64,
    pub(super) minutes: i64,
    /// Seconds of the minute, in microseconds.
    pub(super) micros: i64,
}

impl Interval {
    /// `-1 years +2 mons -3 days +04:05:06.789`.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut interval = Self::default();
        let mut tokens = text.split(|byte| *byte == b' ');
        while let Some(token) = tokens.next() {
            let unsigned = token.strip_prefix(b"+").unwrap_or(token);
            if unsigned.contains(&b':') {
                interval.time(unsigned)?;
                continue;
            }
            let number = integer(unsigned)?;
            match tokens.next()? {
                b"year" | b"years" => interval.years = number,
                b"mon" | b"mons" => interval.months = number,
                b"day" | b"days" => interval.days = number,
                _ => return None,
            }
        }
        Some(interval)
    }

    /// `-123:45:06.789`: one sign for all, and as many hours as there are.
    fn time(&mut self, text: &[u8]) -> Option<()> {
        let (sign, text) = match text {
            [b'-', rest @ ..] => (-1, rest),
            text => (1, text),
        };
        let colon = text.iter().position(|byte| *byte == b':')?;
        let (hours, below) = text.split_at_checked(colon)?;
        // The rest is a time of day in which the hour is not known yet.
        let mut reader = Reader::new(below);
        let micros = reader.minutes_and_seconds().filter(|_| reader.is_at_end())?;
        self.hours = sign * integer(hours).filter(|hours| *hours >= 0)?;
        self.minutes = sign * (micros / (60 * SECOND));
        self.micros = sign * (micros % (60 * SECOND));
        Some(())
    }

    /// Microseconds by Debezium's arithmetic, which is in doubles.
    fn approximate_micros(self) -> i64 {
        let months = self.years.saturating_mul(12).saturating_add(self.months);
        let seconds = (self.micros / SECOND) as f64 + (self.micros % SECOND) as f64 / 1e6;
        let days = months as f64 * (365.25 / 12.0) + self.days as f64;
        let seconds =
            ((days * 24.0 + self.hours as f64) * 60.0 + self.minutes as f64) * 60.0 + seconds;
        (seconds * 1e6) as i64
    }

    /// `P1Y2M3DT4H5M6.78S`, with all parts even if they are zero.
    fn iso(self) -> String {
        let Self { years, months, days, hours, minutes, micros } = self;
        let mut out = format!("P{years}Y{months}M{days}DT{hours}H{minutes}M");
        if micros < 0 {
            out.push('-');
        }
        let micros = micros.unsigned_abs();
        out.push_str(itoa::Buffer::new().format(micros / 1_000_000));
        if micros % 1_000_000 != 0 {
            let fraction = format!(".{:06}", micros % 1_000_000);
            out.push_str(fraction.trim_end_matches('0'));
        }
        out.push('S');
        out
    }
}

/// The mapping of `interval`. Infinite intervals, which the server has since version 17, are the limits
/// of 64 bits, or `infinity` in text; Debezium's way with them is not known.
#[derive(Debug)]
pub(super) struct IntervalForm(pub(super) IntervalMode);

impl Form for IntervalForm {
    fn schema(&self) -> Schema {
        match self.0 {
            IntervalMode::Numeric => named(Kind::Int64, "io.debezium.time.MicroDuration"),
            IntervalMode::String => named(Kind::String, "io.debezium.time.Interval"),
        }
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        Ok(match &text[..] {
            b"infinity" => self.infinite(true),
            b"-infinity" => self.infinite(false),
            _ => self.show(
                Interval::parse(text)
                    .ok_or_else(|| Error::data("not an interval in IntervalStyle postgres"))?,
            ),
        })
    }

    fn binary(&self) -> Option<&dyn Binary> {
        Some(self)
    }

    fn default(&self, written: &Written) -> Option<Value> {
        written.read(self, "00:00:00")
    }

    fn zero(&self) -> Value {
        self.default(&Written::Generated).unwrap_or_default()
    }
}

impl IntervalForm {
    fn infinite(&self, is_positive: bool) -> Value {
        match self.0 {
            IntervalMode::Numeric => Value::Int64(if is_positive { i64::MAX } else { i64::MIN }),
            IntervalMode::String if is_positive => Value::String(Text::from_static("infinity")),
            IntervalMode::String => Value::String(Text::from_static("-infinity")),
        }
    }

    fn show(&self, interval: Interval) -> Value {
        match self.0 {
            IntervalMode::Numeric => Value::Int64(interval.approximate_micros()),
            IntervalMode::String => Value::String(interval.iso().into()),
        }
    }
}

/// Microseconds, days and months; all of them the least or the most are infinite.
impl Binary for IntervalForm {
    fn read(&self, mut value: Slice<'_>) -> Result<Value> {
        let micros = i64::from_be_bytes(value.take()?);
        let days = i32::from_be_bytes(value.take()?);
        let months = i32::from_be_bytes(value.number()?);
        match (micros, days, months) {
            (i64::MAX, i32::MAX, i32::MAX) => return Ok(self.infinite(true)),
            (i64::MIN, i32::MIN, i32::MIN) => return Ok(self.infinite(false)),
            _ => {}
        }
        Ok(self.show(Interval {
            years: (months / 12).into(),
            months: (months % 12).into(),
            days: days.into(),
            hours: micros / (3600 * SECOND),
            minutes: micros / (60 * SECOND) % 60,
            micros: micros % (60 * SECOND),
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn intervals_in_both_modes() {
        for (text, micros, iso) in [
            ("1 year 2 mons 3 days 04:05:06.789", 37_091_106_789_000, "P1Y2M3DT4H5M6.789S"),
            ("-1 mons +2 days -03:00:00", -2_467_800_000_000, "P0Y-1M2DT-3H0M0S"),
            ("00:00:00", 0, "P0Y0M0DT0H0M0S"),
            ("-00:00:00.5", -500_000, "P0Y0M0DT0H0M-0.5S"),
            ("1 day", 86_400_000_000, "P0Y0M1DT0H0M0S"),
            ("-2 years -3 days", -63_374_400_000_000, "P-2Y0M-3DT0H0M0S"),
            (
                "2562047788:00:54.775807",
                9_223_372_036_854_775_807,
                "P0Y0M0DT2562047788H0M54.775807S",
            ),
            ("1 mon -100:59:59.000001", 2_266_200_999_999, "P0Y1M0DT-100H-59M-59.000001S"),
            ("infinity", i64::MAX, "infinity"),
            ("-infinity", i64::MIN, "-infinity"),
        ] {
            let bytes = Bytes::from_static(text.as_bytes());
            let numeric = IntervalForm(IntervalMode::Numeric).decode(&bytes).unwrap();
            assert_eq!(numeric, Value::Int64(micros), "{text}");
            let string = IntervalForm(IntervalMode::String).decode(&bytes).unwrap();
            assert_eq!(string.as_str(), Some(iso), "{text}");
        }
        for wrong in [
            "",
            "1",
            "1 week",
            "x days",
            "1 day ",
            "04:05",
            "04:60:00",
            "--1 days",
            "04:05:06:07",
            ":00:00",
        ] {
            let bytes = Bytes::from_static(wrong.as_bytes());
            assert!(IntervalForm(IntervalMode::Numeric).decode(&bytes).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn times_go_into_their_parts(hours in 0..3_000_000_i64, minutes in 0..60_i64, micros in 0..60_000_000_i64) {
            let text = format!("-{hours:02}:{minutes:02}:{:02}.{:06}", micros / SECOND, micros % SECOND);
            let interval = Interval { hours: -hours, minutes: -minutes, micros: -micros, ..Interval::default() };
            prop_assert_eq!(Interval::parse(text.as_bytes()), Some(interval));
        }
    }
}
