//! Dates, times and intervals as structs: `time.precision.mode=structured`.
//!
//! Duty: the parts of a value as the server has them, so that nothing is beyond what a count of some
//! unit holds. Samples of Debezium 3.7 verify schemas and values. What differs on purpose:
//!
//! - years before Christ are those of ISO 8601 (`0044-03-15 BC` is -43) wherever they are. Debezium
//!   loses the sign of dates that a snapshot reads and of dates and `timestamptz` in arrays, and shows
//!   timestamps in arrays by the Julian calendar;
//! - times in arrays have their microseconds; Debezium cuts them to milliseconds;
//! - the time `24:00:00` has the hour 24, as Debezium shows it of `timetz`. Of `time` it ends its task.
//!
//! No sample shows infinite intervals, which the server has since version 17: they are null, since the
//! struct has nothing to tell them by.

use std::sync::Arc;

use bytes::Bytes;
use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::value::{Struct, Value};
use towpath_sdk::{Error, Result, Text};

use super::calendar::{self, Date, Reader};
use super::default::Written;
use super::form::{Form, named};
use super::interval::Interval;

/// Which type is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Date,
    Time,
    ZonedTime,
    Timestamp,
    ZonedTimestamp,
    Duration,
}

/// The mapping of a type to a struct.
#[derive(Debug)]
pub(super) struct Structured {
    shape: Shape,
    /// Digits of a second, as the type modifier has them.
    precision: i32,
    schema: SchemaRef,
}

/// Fields of a day, of a time of day, and of an interval.
const DAY: [(&str, Kind); 3] = [("year", Kind::Int32), ("month", Kind::Int8), ("day", Kind::Int8)];
const TIME: [(&str, Kind); 4] =
    [("hour", Kind::Int8), ("minute", Kind::Int8), ("second", Kind::Int8), ("nanos", Kind::Int32)];
const DURATION: [(&str, Kind); 7] = [
    ("years", Kind::Int32),
    ("months", Kind::Int32),
    ("days", Kind::Int32),
    ("hours", Kind::Int32),
    ("minutes", Kind::Int32),
    ("seconds", Kind::Int64),
    ("nanos", Kind::Int32),
];
const OFFSET: (&str, Kind) = ("offsetSeconds", Kind::Int32);
const ZONE: (&str, Kind) = ("zoneId", Kind::String);
/// The place of the zone in a [`Shape::ZonedTimestamp`].
const ZONE_AT: usize = 8;
const SPECIAL: (&str, Kind) = ("specialValue", Kind::String);
const PRECISION: (&str, Kind) = ("precision", Kind::Int32);

fn schema(shape: Shape) -> Schema {
    let (name, parts): (_, Vec<&[(&str, Kind)]>) = match shape {
        Shape::Date => ("io.debezium.time.StructuredDate", vec![&DAY, &[SPECIAL]]),
        Shape::Time => ("io.debezium.time.StructuredTime", vec![&TIME, &[PRECISION]]),
        Shape::ZonedTime => {
            ("io.debezium.time.StructuredZonedTime", vec![&TIME, &[OFFSET, PRECISION]])
        }
        Shape::Timestamp => {
            ("io.debezium.time.StructuredTimestamp", vec![&DAY, &TIME, &[SPECIAL, PRECISION]])
        }
        Shape::ZonedTimestamp => (
            "io.debezium.time.StructuredZonedTimestamp",
            vec![&DAY, &TIME, &[OFFSET, ZONE, SPECIAL, PRECISION]],
        ),
        Shape::Duration => ("io.debezium.time.StructuredDuration", vec![&DURATION, &[PRECISION]]),
    };
    let fields = parts.into_iter().flatten();
    let fields = fields.map(|(name, kind)| (*name, Arc::new(Schema::new(kind.clone()).optional())));
    named(Schema::structure(fields).kind, name)
}

impl Structured {
    /// The mapping of a column with this type modifier.
    pub(super) fn new(shape: Shape, typmod: i32) -> Self {
        let precision = match (shape, typmod) {
            (_, ..0) => 6,
            // Its fields (`year to month`) are above; 65535 is any number of digits.
            (Shape::Duration, typmod) => typmod & 0xffff,
            (_, typmod) => typmod,
        };
        Self { shape, precision, schema: Arc::new(schema(shape)) }
    }

    fn values(&self, text: &[u8]) -> Option<Result<Vec<Value>>> {
        let mut values = Vec::with_capacity(11);
        let special = match text {
            b"infinity" => Some("POSITIVE_INFINITY"),
            b"-infinity" => Some("NEGATIVE_INFINITY"),
            _ => None,
        };
        match (self.shape, special) {
            (Shape::Time | Shape::ZonedTime | Shape::Duration, Some(_)) => return None,
            (Shape::Date | Shape::Timestamp | Shape::ZonedTimestamp, Some(special)) => {
                let nulls =
                    self.schema.fields().len() - if self.shape == Shape::Date { 1 } else { 2 };
                values.resize(nulls, Value::Null);
                values.push(Value::String(Text::from_static(special)));
            }
            (Shape::Date, None) => {
                day(calendar::date(text)?, &mut values);
                values.push(Value::Null);
            }
            (Shape::Time, None) => {
                let mut reader = Reader::new(text);
                let micros = reader.time()?;
                time(micros, &mut values);
                reader.is_at_end().then_some(())?;
            }
            (Shape::ZonedTime, None) => {
                let mut reader = Reader::new(text);
                let (micros, offset) = (reader.time()?, reader.offset()?);
                time(micros, &mut values);
                values.push(Value::Int32((offset / SECOND) as i32));
                reader.is_at_end().then_some(())?;
            }
            (Shape::Timestamp, None) => {
                let (date, micros) = calendar::timestamp(text)?;
                day(date, &mut values);
                time(micros, &mut values);
                values.push(Value::Null);
            }
            (Shape::ZonedTimestamp, None) => {
                let (date, micros) = calendar::zoned_timestamp(text)?;
                day(date, &mut values);
                time(micros, &mut values);
                values.push(Value::Int32(0));
                values.push(Value::String(Text::from_static("Z")));
                values.push(Value::Null);
            }
            (Shape::Duration, None) => {
                if let Err(error) = duration(&Interval::parse(text)?, &mut values) {
                    return Some(Err(error));
                }
            }
        }
        if self.shape != Shape::Date {
            values.push(Value::Int32(self.precision));
        }
        Some(Ok(values))
    }
}

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;

fn day(date: Date, values: &mut Vec<Value>) {
    values.push(Value::Int32(date.year));
    values.push(Value::Int8(date.month.cast_signed()));
    values.push(Value::Int8(date.day.cast_signed()));
}

/// A time of day, of at most 24 hours.
fn time(micros: i64, values: &mut Vec<Value>) {
    let seconds = micros / SECOND;
    values.push(Value::Int8((seconds / 3600) as i8));
    values.push(Value::Int8((seconds / 60 % 60) as i8));
    values.push(Value::Int8((seconds % 60) as i8));
    values.push(Value::Int32((micros % SECOND * 1000) as i32));
}

fn duration(interval: &Interval, values: &mut Vec<Value>) -> Result<()> {
    let Interval { years, months, days, hours, minutes, micros } = *interval;
    for part in [years, months, days, hours, minutes] {
        let part = i32::try_from(part).map_err(|error| {
            let text = "an interval with a part beyond 32 bits: use another time.precision.mode";
            Error::data(text).with_source(error)
        })?;
        values.push(Value::Int32(part));
    }
    values.push(Value::Int64(micros / SECOND));
    values.push(Value::Int32((micros % SECOND * 1000) as i32));
    Ok(())
}

impl Form for Structured {
    fn schema(&self) -> Schema {
        Schema::clone(&self.schema)
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        if self.shape == Shape::Duration && matches!(&text[..], b"infinity" | b"-infinity") {
            return Ok(Value::Null);
        }
        let wrong = || Error::data("not a date, a time or an interval as the server writes it");
        let values = self.values(text).ok_or_else(wrong)??;
        Struct::new(Arc::clone(&self.schema), values).map(Value::Struct)
    }

    fn bind(&self, schema: &SchemaRef) -> Option<Arc<dyn Form>> {
        let (shape, precision) = (self.shape, self.precision);
        Some(Arc::new(Self { shape, precision, schema: Arc::clone(schema) }))
    }

    fn default(&self, written: &Written) -> Option<Value> {
        let zero = match self.shape {
            Shape::Date => "1970-01-01",
            Shape::Time => "00:00:00",
            Shape::ZonedTime => "00:00:00+00",
            Shape::Timestamp => "1970-01-01 00:00:00",
            Shape::ZonedTimestamp => "1970-01-01 00:00:00+00",
            Shape::Duration => "00:00:00",
        };
        let mut value = written.read(self, zero)?;
        // What stands for a value that is not known has no zone, either.
        if let (Written::Generated, Shape::ZonedTimestamp, Value::Struct(parts)) =
            (written, self.shape, &mut value)
            && let Some(zone) = parts.values_mut().get_mut(ZONE_AT)
        {
            *zone = Value::Null;
        }
        Some(value)
    }

    fn zero(&self) -> Value {
        self.default(&Written::Generated).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(shape: Shape, typmod: i32, text: &str) -> String {
        let form = Structured::new(shape, typmod);
        match form.decode(&Bytes::copy_from_slice(text.as_bytes())) {
            Ok(Value::Struct(value)) => {
                let part = |value: &Value| match value {
                    Value::Null => "-".to_owned(),
                    Value::String(text) => text.to_string(),
                    other => other.as_i64().unwrap().to_string(),
                };
                value.values().iter().map(part).collect::<Vec<_>>().join(" ")
            }
            Ok(Value::Null) => "null".to_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn parts_are_as_the_server_has_them() {
        let check = |shape, typmod, text: &str, expect: &str| {
            assert_eq!(shown(shape, typmod, text), expect, "{text}");
        };
        check(Shape::Date, -1, "2024-02-29", "2024 2 29 -");
        check(Shape::Date, -1, "0044-03-15 BC", "-43 3 15 -");
        check(Shape::Date, -1, "-infinity", "- - - NEGATIVE_INFINITY");
        check(Shape::Time, 3, "01:02:03.456", "1 2 3 456000000 3");
        check(Shape::Time, -1, "24:00:00", "24 0 0 0 6");
        check(Shape::ZonedTime, 0, "04:05:06-03:30", "4 5 6 0 -12600 0");
        check(
            Shape::Timestamp,
            -1,
            "294276-12-31 23:59:59.999999",
            "294276 12 31 23 59 59 999999000 - 6",
        );
        check(Shape::Timestamp, 0, "infinity", "- - - - - - - POSITIVE_INFINITY 0");
        check(Shape::ZonedTimestamp, 6, "2024-02-29 12:34:56+02", "2024 2 29 10 34 56 0 0 Z - 6");
        check(Shape::ZonedTimestamp, 6, "infinity", "- - - - - - - - - POSITIVE_INFINITY 6");
        check(Shape::Duration, -1, "-1 mons +2 days -03:00:00.5", "0 -1 2 -3 0 0 -500000000 6");
        // year to month
        check(Shape::Duration, 0x6_ffff, "3 years 5 mons", "3 5 0 0 0 0 0 65535");
        check(Shape::Duration, -1, "infinity", "null");
        assert!(shown(Shape::Duration, -1, "2562047788:00:54").contains("beyond 32 bits"));
        let zero = Structured::new(Shape::ZonedTimestamp, -1).default(&Written::Generated);
        let Some(Value::Struct(zero)) = zero else { panic!("{zero:?}") };
        assert_eq!(zero.get("zoneId"), Some(&Value::Null));
        for (shape, wrong) in [
            (Shape::Date, "2024-02-30"),
            (Shape::Time, "infinity"),
            (Shape::Time, "01:02:03+00"),
            (Shape::ZonedTime, "01:02:03"),
            (Shape::Timestamp, "2024-02-29"),
            (Shape::Duration, "1 x"),
        ] {
            assert!(shown(shape, -1, wrong).contains("not a date"), "{wrong}");
        }
    }
}
