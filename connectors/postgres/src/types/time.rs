//! `date`, `time`, `timetz`, `timestamp` and `timestamptz`.
//!
//! Infinity is Debezium's: the days 5877611-06-21 and -5877611-06-22, the instants that the JDBC
//! driver has for it in milliseconds, and the limits of 64 bits in microseconds and nanoseconds.
//!
//! Samples verify the modes `adaptive`, `connect` and `isostring`, the former two with positive infinity.
//! The other modes, negative infinity, BC and years beyond 9999 are after Debezium's sources. Where a
//! count does not fit into 64 bits Debezium wraps around or saturates; here it is an error.

use bytes::Bytes;
use towpath_sdk::schema::{Kind, Schema, logical};
use towpath_sdk::value::Value;
use towpath_sdk::{Error, Result, Text};

use super::calendar::{self, DAY, Date, Fraction, Line, Reader, write_time};
use super::default::Written;
use super::form::{Binary, Form, named};
use super::modes::TimePrecision;
use super::slice::Slice;

/// What the JDBC driver has for infinity, in milliseconds (`PGStatement.DATE_POSITIVE_INFINITY`).
const INFINITY_MS: (i64, i64) = (9_223_372_036_825_200_000, -9_223_372_036_832_400_000);
const INFINITY_DAYS: (i32, i32) = (2_146_033_979, -2_147_472_691);

/// The day from which the server counts, 2000-01-01, in days since 1970.
const EPOCH_DAYS: i64 = 10_957;

/// Which of two a text says: `infinity` or `-infinity`.
fn infinity<T>(text: &[u8], (plus, minus): (T, T)) -> Option<T> {
    match text {
        b"infinity" => Some(plus),
        b"-infinity" => Some(minus),
        _ => None,
    }
}

/// `date`.
#[derive(Debug, Clone, Copy)]
pub(super) enum DateForm {
    Days,
    ConnectDays,
    Iso,
}

impl DateForm {
    pub(super) fn new(mode: TimePrecision) -> Self {
        match mode {
            TimePrecision::Isostring => Self::Iso,
            TimePrecision::Connect => Self::ConnectDays,
            _ => Self::Days,
        }
    }
}

impl Form for DateForm {
    fn schema(&self) -> Schema {
        match self {
            Self::Days => named(Kind::Int32, "io.debezium.time.Date"),
            Self::ConnectDays => named(Kind::Int32, logical::DATE),
            Self::Iso => named(Kind::String, "io.debezium.time.IsoDate"),
        }
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        let limit = infinity(text, (true, false)).map(|is_positive| self.infinite(is_positive));
        match limit {
            Some(limit) => Ok(limit),
            None => self.show(calendar::date(text).ok_or_else(no_date)?),
        }
    }

    fn binary(&self) -> Option<&dyn Binary> {
        Some(self)
    }

    fn default(&self, written: &Written) -> Option<Value> {
        written.read(self, "1970-01-01")
    }

    fn zero(&self) -> Value {
        self.default(&Written::Generated).unwrap_or_default()
    }
}

fn no_date() -> Error {
    Error::data("not a date in DateStyle ISO")
}

impl DateForm {
    fn infinite(self, is_positive: bool) -> Value {
        let of = |plus, minus| if is_positive { plus } else { minus };
        match self {
            Self::Iso => Value::String(Text::from_static(of("+5877611-06-21Z", "-5877611-06-22Z"))),
            Self::Days | Self::ConnectDays => {
                Value::Int32(if is_positive { INFINITY_DAYS.0 } else { INFINITY_DAYS.1 })
            }
        }
    }

    fn show(self, date: Date) -> Result<Value> {
        if let Self::Iso = self {
            let mut out = Line::new();
            date.write(&mut out);
            out.push(b'Z');
            return Ok(Value::String(out.as_str().into()));
        }
        i32::try_from(date.days()).map(Value::Int32).map_err(|e| no_date().with_source(e))
    }
}

/// Days, of which the first and the last are infinite.
impl Binary for DateForm {
    fn read(&self, value: Slice<'_>) -> Result<Value> {
        match i32::from_be_bytes(value.number()?) {
            limit @ (i32::MIN | i32::MAX) => Ok(self.infinite(limit > 0)),
            days => self.show(Date::of_days(i64::from(days) + EPOCH_DAYS).ok_or_else(no_date)?),
        }
    }
}

/// The units in which a time or a timestamp is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Millis,
    ConnectMillis,
    Micros,
    Nanos,
    Iso,
}

impl Unit {
    /// The unit of a column with `precision` digits.
    fn new(mode: TimePrecision, precision: u8, day_in_micros: bool) -> Self {
        match mode {
            TimePrecision::Isostring => Self::Iso,
            TimePrecision::Connect => Self::ConnectMillis,
            TimePrecision::Microseconds => Self::Micros,
            TimePrecision::Nanoseconds => Self::Nanos,
            TimePrecision::AdaptiveTimeMicroseconds if day_in_micros => Self::Micros,
            // Structured is no unit: it has a mapping of its own.
            TimePrecision::Adaptive
            | TimePrecision::AdaptiveTimeMicroseconds
            | TimePrecision::Structured => {
                if precision <= 3 {
                    Self::Millis
                } else {
                    Self::Micros
                }
            }
        }
    }
}

/// The precision in a type modifier; 6 if there is none.
fn precision(typmod: i32) -> u8 {
    u8::try_from(typmod).map_or(6, |precision| precision.min(6))
}

/// `time`. The last time of the day, 24:00:00, is the first in ISO text, which is what Debezium's
/// sources say and no sample shows.
#[derive(Debug)]
pub(super) struct TimeForm(Unit);

impl TimeForm {
    pub(super) fn new(typmod: i32, mode: TimePrecision) -> Self {
        Self(Unit::new(mode, precision(typmod), true))
    }
}

impl Form for TimeForm {
    fn schema(&self) -> Schema {
        match self.0 {
            Unit::Millis => named(Kind::Int32, "io.debezium.time.Time"),
            Unit::ConnectMillis => named(Kind::Int32, logical::TIME),
            Unit::Micros => named(Kind::Int64, "io.debezium.time.MicroTime"),
            Unit::Nanos => named(Kind::Int64, "io.debezium.time.NanoTime"),
            Unit::Iso => named(Kind::String, "io.debezium.time.IsoTime"),
        }
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        let mut reader = Reader::new(text);
        let micros =
            reader.time().filter(|_| reader.is_at_end()).ok_or_else(|| Error::data(NO_TIME))?;
        Ok(self.show(micros))
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

const NO_TIME: &str = "not a time of day";

impl TimeForm {
    fn show(&self, micros: i64) -> Value {
        match self.0 {
            Unit::Millis | Unit::ConnectMillis => Value::Int32((micros / 1000) as i32),
            Unit::Micros => Value::Int64(micros),
            Unit::Nanos => Value::Int64(micros * 1000),
            Unit::Iso => Value::String(zulu_time(micros % DAY)),
        }
    }
}

/// Microseconds since midnight.
impl Binary for TimeForm {
    fn read(&self, value: Slice<'_>) -> Result<Value> {
        let micros = i64::from_be_bytes(value.number()?);
        if (0..=DAY).contains(&micros) { Ok(self.show(micros)) } else { Err(Error::data(NO_TIME)) }
    }
}

/// `12:34:56.789Z`.
fn zulu_time(micros: i64) -> Text {
    let mut out = Line::new();
    write_time(&mut out, micros, Fraction::Needed);
    out.push(b'Z');
    out.as_str().into()
}

/// `timetz`: text in UTC. Debezium's sources keep 24:00:00 at UTC and can't read it elsewhere; here
/// it is taken to UTC as any other time.
#[derive(Debug)]
pub(super) struct ZonedTime;

impl Form for ZonedTime {
    fn schema(&self) -> Schema {
        named(Kind::String, "io.debezium.time.ZonedTime")
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        let mut reader = Reader::new(text);
        let read = (|| Some((reader.time()?, reader.offset()?)))();
        let (time, offset) =
            read.filter(|_| reader.is_at_end()).ok_or_else(|| Error::data(NO_ZONED_TIME))?;
        Ok(Self::show(time, offset))
    }

    fn binary(&self) -> Option<&dyn Binary> {
        Some(self)
    }

    fn zero(&self) -> Value {
        Value::String(Text::from_static("00:00:00Z"))
    }
}

const NO_ZONED_TIME: &str = "not a time of day with an offset";

impl ZonedTime {
    fn show(time: i64, offset: i64) -> Value {
        if (time, offset) == (DAY, 0) {
            return Value::String(Text::from_static("24:00:00Z"));
        }
        Value::String(zulu_time((time - offset).rem_euclid(DAY)))
    }
}

/// Microseconds since midnight, and seconds west of Greenwich.
impl Binary for ZonedTime {
    fn read(&self, mut value: Slice<'_>) -> Result<Value> {
        let time = i64::from_be_bytes(value.take()?);
        let west = i32::from_be_bytes(value.number()?);
        if !(0..=DAY).contains(&time) {
            return Err(Error::data(NO_ZONED_TIME));
        }
        Ok(Self::show(time, -i64::from(west) * 1_000_000))
    }
}

/// `timestamp`.
#[derive(Debug)]
pub(super) struct TimestampForm(Unit);

impl TimestampForm {
    pub(super) fn new(typmod: i32, mode: TimePrecision) -> Self {
        Self(Unit::new(mode, precision(typmod), false))
    }

    fn infinite(&self, is_positive: bool) -> Value {
        let of = |(plus, minus)| if is_positive { plus } else { minus };
        match self.0 {
            Unit::Millis | Unit::ConnectMillis => Value::Int64(of(INFINITY_MS)),
            Unit::Micros | Unit::Nanos => Value::Int64(of((i64::MAX, i64::MIN))),
            Unit::Iso if is_positive => {
                Value::String(Text::from_static("+292278994-08-16T23:00:00Z"))
            }
            Unit::Iso => Value::String(Text::from_static("-292275055-05-16T23:00:00Z")),
        }
    }

    fn show(&self, date: Date, time: i64) -> Result<Value> {
        let count = |per_day: i64, in_day: i64, limits: &'static str| {
            date.days()
                .checked_mul(per_day)
                .and_then(|days| days.checked_add(in_day))
                .map(Value::Int64)
                .ok_or_else(|| Error::data(limits))
        };
        match self.0 {
            Unit::Millis | Unit::ConnectMillis => {
                count(DAY / 1000, time / 1000, "a timestamp beyond 64 bits of milliseconds")
            }
            Unit::Micros => count(
                DAY,
                time,
                "a timestamp after the year 294246, which 64 bits of microseconds can't hold: use \
                 another time.precision.mode",
            ),
            Unit::Nanos => nanos(date, time),
            Unit::Iso => Ok(Value::String(zulu(date, time, Fraction::Needed))),
        }
    }
}

/// A binary timestamp: microseconds, of which the first and the last are infinite.
enum Instant {
    Infinite { is_positive: bool },
    At(Date, i64),
}

impl Instant {
    fn read(value: Slice<'_>) -> Result<Self> {
        let micros = i64::from_be_bytes(value.number()?);
        if let i64::MIN | i64::MAX = micros {
            return Ok(Self::Infinite { is_positive: micros > 0 });
        }
        Date::of_days(micros.div_euclid(DAY) + EPOCH_DAYS)
            .map(|date| Self::At(date, micros.rem_euclid(DAY)))
            .ok_or_else(no_date)
    }
}

impl Binary for TimestampForm {
    fn read(&self, value: Slice<'_>) -> Result<Value> {
        match Instant::read(value)? {
            Instant::Infinite { is_positive } => Ok(self.infinite(is_positive)),
            Instant::At(date, time) => self.show(date, time),
        }
    }
}

impl Form for TimestampForm {
    fn schema(&self) -> Schema {
        match self.0 {
            Unit::Millis => named(Kind::Int64, "io.debezium.time.Timestamp"),
            Unit::ConnectMillis => named(Kind::Int64, logical::TIMESTAMP),
            Unit::Micros => named(Kind::Int64, "io.debezium.time.MicroTimestamp"),
            Unit::Nanos => named(Kind::Int64, "io.debezium.time.NanoTimestamp"),
            Unit::Iso => named(Kind::String, "io.debezium.time.IsoTimestamp"),
        }
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        match calendar::timestamp(text) {
            Some((date, time)) => self.show(date, time),
            None => infinity(text, (true, false))
                .map(|is_positive| self.infinite(is_positive))
                .ok_or_else(|| Error::data("not a timestamp in DateStyle ISO")),
        }
    }

    fn binary(&self) -> Option<&dyn Binary> {
        Some(self)
    }

    fn default(&self, written: &Written) -> Option<Value> {
        written.read(self, "1970-01-01 00:00:00")
    }

    fn zero(&self) -> Value {
        self.default(&Written::Generated).unwrap_or_default()
    }
}

fn nanos(date: Date, time: i64) -> Result<Value> {
    // By way of 128 bits, since the first day that counts begins before the first instant.
    let nanos = (i128::from(date.days()) * i128::from(DAY) + i128::from(time)) * 1000;
    i64::try_from(nanos).map(Value::Int64).map_err(|e| {
        Error::data(
            "a timestamp outside of the years 1677 to 2262, which 64 bits of nanoseconds can't \
             hold: use another time.precision.mode",
        )
        .with_source(e)
    })
}

/// `2024-02-29T12:34:56.789Z`.
fn zulu(date: Date, time: i64, fraction: Fraction) -> Text {
    let mut out = Line::new();
    date.write(&mut out);
    out.push(b'T');
    write_time(&mut out, time, fraction);
    out.push(b'Z');
    out.as_str().into()
}

/// `timestamptz`: text in UTC with as many digits of a second as the column's precision; with none if
/// that is 0.
#[derive(Debug)]
pub(super) struct ZonedTimestamp(Fraction);

impl ZonedTimestamp {
    pub(super) fn new(typmod: i32) -> Self {
        Self(Fraction::Digits(precision(typmod)))
    }
}

impl Form for ZonedTimestamp {
    fn schema(&self) -> Schema {
        named(Kind::String, "io.debezium.time.ZonedTimestamp")
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        if let Some(text) = infinity(text, ("infinity", "-infinity")) {
            return Ok(Value::String(Text::from_static(text)));
        }
        let (date, time) = calendar::zoned_timestamp(text)
            .ok_or_else(|| Error::data("not a timestamp with an offset in DateStyle ISO"))?;
        Ok(Value::String(zulu(date, time, self.0)))
    }

    fn binary(&self) -> Option<&dyn Binary> {
        Some(self)
    }

    fn default(&self, written: &Written) -> Option<Value> {
        written.read(self, "1970-01-01 00:00:00+00")
    }

    fn zero(&self) -> Value {
        Value::String(Text::from_static("1970-01-01T00:00:00Z"))
    }
}

impl Binary for ZonedTimestamp {
    fn read(&self, value: Slice<'_>) -> Result<Value> {
        Ok(Value::String(match Instant::read(value)? {
            Instant::Infinite { is_positive: true } => Text::from_static("infinity"),
            Instant::Infinite { is_positive: false } => Text::from_static("-infinity"),
            Instant::At(date, time) => zulu(date, time, self.0),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODES: [TimePrecision; 6] = [
        TimePrecision::Adaptive,
        TimePrecision::AdaptiveTimeMicroseconds,
        TimePrecision::Connect,
        TimePrecision::Isostring,
        TimePrecision::Microseconds,
        TimePrecision::Nanoseconds,
    ];

    fn decode(form: &dyn Form, text: &str) -> Option<Value> {
        form.decode(&Bytes::copy_from_slice(text.as_bytes())).ok()
    }

    fn int(number: i64) -> Option<Value> {
        Some(Value::Int64(number))
    }

    fn text(text: &'static str) -> Option<Value> {
        Some(Value::String(Text::from_static(text)))
    }

    fn name(form: &dyn Form) -> String {
        let schema = form.schema();
        format!("{} {}", schema.kind.connect_name(), schema.name.unwrap_or_default())
    }

    #[test]
    fn dates() {
        for mode in MODES {
            let form = DateForm::new(mode);
            for (shown, days, iso) in [
                ("2024-02-29", 19_782, "2024-02-29Z"),
                ("0001-01-01", -719_162, "0001-01-01Z"),
                ("0044-03-15 BC", -735_160, "-0043-03-15Z"),
                ("12024-01-01", 3_672_148, "+12024-01-01Z"),
                ("infinity", 2_146_033_979, "+5877611-06-21Z"),
                ("-infinity", -2_147_472_691, "-5877611-06-22Z"),
            ] {
                let expected = match mode {
                    TimePrecision::Isostring => text(iso),
                    _ => Some(Value::Int32(days)),
                };
                assert_eq!(decode(&form, shown), expected, "{shown} {mode}");
            }
            assert_eq!(
                decode(&form, "999999999-01-01").is_none(),
                mode != TimePrecision::Isostring
            );
            assert_eq!(decode(&form, "today"), None);
        }
        assert_eq!(name(&DateForm::Days), "INT32 io.debezium.time.Date");
        assert_eq!(name(&DateForm::ConnectDays), "INT32 org.apache.kafka.connect.data.Date");
        assert_eq!(name(&DateForm::Iso), "STRING io.debezium.time.IsoDate");
    }

    #[test]
    fn times_by_mode_and_precision() {
        let ms = |number| Some(Value::Int32(number));
        for (mode, typmod, schema, noon, last) in [
            (0, 3, "INT32 io.debezium.time.Time", ms(43_200_123), ms(86_400_000)),
            (0, -1, "INT64 io.debezium.time.MicroTime", int(43_200_123_456), int(DAY)),
            (1, 0, "INT64 io.debezium.time.MicroTime", int(43_200_123_456), int(DAY)),
            (2, -1, "INT32 org.apache.kafka.connect.data.Time", ms(43_200_123), ms(86_400_000)),
            (3, -1, "STRING io.debezium.time.IsoTime", text("12:00:00.123456Z"), text("00:00:00Z")),
            (4, 3, "INT64 io.debezium.time.MicroTime", int(43_200_123_456), int(DAY)),
            (5, 3, "INT64 io.debezium.time.NanoTime", int(43_200_123_456_000), int(DAY * 1000)),
        ] {
            let form = TimeForm::new(typmod, MODES[mode]);
            assert_eq!(name(&form), schema);
            assert_eq!(decode(&form, "12:00:00.123456"), noon);
            assert_eq!(decode(&form, "24:00:00"), last);
            assert_eq!(decode(&form, "12:00:00+00"), None);
        }
    }

    #[test]
    fn times_with_an_offset_are_taken_to_utc() {
        for (shown, utc) in [
            ("04:05:06.789+02", "02:05:06.789Z"),
            ("00:30:00+05:30", "19:00:00Z"),
            ("23:00:00-03:00:30", "02:00:30Z"),
            ("24:00:00+00", "24:00:00Z"),
            ("24:00:00-01", "01:00:00Z"),
        ] {
            assert_eq!(decode(&ZonedTime, shown), text(utc), "{shown}");
        }
        assert_eq!(decode(&ZonedTime, "04:05:06"), None);
    }

    #[test]
    fn timestamps_by_mode_and_precision() {
        let micros = (1_709_210_096_123_456, -1, i64::MAX, i64::MIN);
        let millis = (1_709_210_096_123, -1, INFINITY_MS.0, INFINITY_MS.1);
        for (mode, typmod, schema, (leap, before, plus, minus)) in [
            (0, -1, "INT64 io.debezium.time.MicroTimestamp", micros),
            (0, 3, "INT64 io.debezium.time.Timestamp", millis),
            (1, 4, "INT64 io.debezium.time.MicroTimestamp", micros),
            (1, 0, "INT64 io.debezium.time.Timestamp", millis),
            (2, -1, "INT64 org.apache.kafka.connect.data.Timestamp", millis),
            (4, 3, "INT64 io.debezium.time.MicroTimestamp", micros),
            (
                5,
                3,
                "INT64 io.debezium.time.NanoTimestamp",
                (1_709_210_096_123_456_000, -1000, i64::MAX, i64::MIN),
            ),
        ] {
            let form = TimestampForm::new(typmod, MODES[mode]);
            assert_eq!(name(&form), schema);
            assert_eq!(decode(&form, "2024-02-29 12:34:56.123456"), int(leap));
            assert_eq!(decode(&form, "1969-12-31 23:59:59.999999"), int(before));
            assert_eq!(decode(&form, "infinity"), int(plus));
            assert_eq!(decode(&form, "-infinity"), int(minus));
            assert_eq!(decode(&form, "2024-02-29"), None);
        }
        let form = TimestampForm::new(-1, TimePrecision::Isostring);
        assert_eq!(name(&form), "STRING io.debezium.time.IsoTimestamp");
        for (shown, iso) in [
            ("2024-02-29 12:34:56.12", "2024-02-29T12:34:56.12Z"),
            ("0001-01-01 00:00:00 BC", "0000-01-01T00:00:00Z"),
            ("infinity", "+292278994-08-16T23:00:00Z"),
            ("-infinity", "-292275055-05-16T23:00:00Z"),
        ] {
            assert_eq!(decode(&form, shown), text(iso));
        }
    }

    #[test]
    fn timestamps_have_limits() {
        let nanos = TimestampForm::new(-1, TimePrecision::Nanoseconds);
        for (shown, expected) in [
            ("2262-04-11 23:47:16.854775", int(9_223_372_036_854_775_000)),
            ("2262-04-11 23:47:16.854776", None),
            ("1677-09-21 00:12:43.145225", int(-9_223_372_036_854_775_000)),
            ("1677-09-21 00:12:43.145224", None),
        ] {
            assert_eq!(decode(&nanos, shown), expected, "{shown}");
        }
        let micros = TimestampForm::new(-1, TimePrecision::Adaptive);
        assert_eq!(decode(&micros, "294246-12-31 00:00:00"), int(9_223_371_158_400_000_000));
        assert_eq!(decode(&micros, "294276-12-31 23:59:59.999999"), None);
        assert_eq!(decode(&micros, "4714-11-24 00:00:00 BC"), int(-210_866_803_200_000_000));
    }

    #[test]
    fn timestamps_with_an_offset_are_text_in_utc() {
        for (typmod, shown, utc) in [
            (-1, "2024-02-29 12:34:56.123456+02", "2024-02-29T10:34:56.123456Z"),
            (-1, "2024-01-01 00:00:00+00", "2024-01-01T00:00:00.000000Z"),
            (3, "2024-01-01 00:00:00.12+00", "2024-01-01T00:00:00.120Z"),
            (0, "2024-01-01 00:00:00+00", "2024-01-01T00:00:00Z"),
            (-1, "9999-12-31 23:59:59.999999+00", "9999-12-31T23:59:59.999999Z"),
            (0, "10000-01-01 00:00:00+00", "+10000-01-01T00:00:00Z"),
            (0, "0044-03-15 00:00:00+00 BC", "-0043-03-15T00:00:00Z"),
            (-1, "infinity", "infinity"),
            (3, "-infinity", "-infinity"),
        ] {
            assert_eq!(decode(&ZonedTimestamp::new(typmod), shown), text(utc), "{shown}");
        }
    }
}
