//! Where the time of a record comes from.
//!
//! Duty: Confluent's timestamp extractors. The field's value is milliseconds since the epoch or an
//! ISO 8601 text as Joda's `ISODateTimeFormat.dateTimeParser` reads it; a text without an offset is
//! UTC (the original takes the zone of its JVM).
//!
//! Deliberately absent: classes of one's own.

use chrono::{Datelike, NaiveDate, Weekday};
use towpath_sdk::error::{Error, Result};
use towpath_sdk::record::Record;
use towpath_sdk::value::Value;

use crate::joda::parse_offset;

/// Tells the time of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extractor {
    /// The wall clock when the record is written. Not repeatable.
    Wallclock,
    /// The record's timestamp in Kafka.
    Record,
    /// A field of the value.
    Field(FieldPath),
}

/// Names from the outermost to the innermost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath {
    text: String,
    names: Vec<String>,
}

impl FieldPath {
    /// Splits `text` at its dots; dots between double quotes belong to the name.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut names = vec![String::new()];
        let mut quoted = false;
        for c in text.chars() {
            match (c, names.last_mut()) {
                ('"', _) => quoted = !quoted,
                ('.', _) if !quoted => names.push(String::new()),
                (c, Some(name)) => name.push(c),
                (_, None) => {}
            }
        }
        Self { text: text.to_owned(), names }
    }

    /// The path as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value at this path; `None` where there is none.
    #[must_use]
    pub fn find(&self, value: &Value) -> Option<Value> {
        let (first, rest) = self.names.split_first()?;
        rest.iter().try_fold(value.member(first)?, |value, name| value.member(name))
    }
}

impl Extractor {
    /// The record's time in milliseconds since the epoch; `now` is the wall clock.
    ///
    /// # Errors
    /// If the record has no time, or one that can't be read.
    pub fn extract(&self, record: &Record, now: i64) -> Result<i64> {
        match self {
            Self::Wallclock => Ok(now),
            Self::Record => record.timestamp.ok_or_else(|| {
                Error::data(
                    "the record has no timestamp, which timestamp.extractor=Record needs \
                     (use Wallclock or RecordField)",
                )
            }),
            Self::Field(path) => from_field(path, &record.value.value),
        }
    }
}

fn from_field(path: &FieldPath, value: &Value) -> Result<i64> {
    let wrong = |what: String| {
        Error::data(format!("the value's field '{}' (timestamp.field) {what}", path.as_str()))
    };
    match path.find(value) {
        Some(Value::String(text)) => {
            parse_iso(&text).ok_or_else(|| wrong("is no ISO 8601 date and time".to_owned()))
        }
        #[expect(clippy::cast_possible_truncation, reason = "as Java's Number.longValue")]
        Some(Value::Float64(n)) => Ok(n as i64),
        #[expect(clippy::cast_possible_truncation, reason = "as Java's Number.longValue")]
        Some(Value::Float32(n)) => Ok(n as i64),
        Some(Value::Null) => Err(wrong("is null".to_owned())),
        None => Err(wrong("does not exist".to_owned())),
        Some(other) => other
            .as_i64()
            .ok_or_else(|| wrong("is neither a number of milliseconds nor a text".to_owned())),
    }
}

/// Milliseconds since the epoch of an ISO 8601 text.
///
/// The grammar, from Joda-Time's documentation of `dateTimeParser`: a date (`yyyy[-MM[-dd]]`,
/// `yyyy-DDD` or `xxxx-Www[-e]`), a time (`HH[:mm[:ss]]`, whose last part may have a fraction), or
/// both with `T` between, and an offset (`Z`, `±HH[:mm[:ss]]`). Years that no calendar here can hold
/// (`20240101` is read as a year) are refused.
#[must_use]
pub fn parse_iso(text: &str) -> Option<i64> {
    let (date, time) = match text.find('T') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let day =
        if date.is_empty() { NaiveDate::from_ymd_opt(1970, 1, 1)? } else { parse_date(date)? };
    let midnight = day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis();
    let (time, offset) = split_offset(time.unwrap_or_default())?;
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let millis = if time.is_empty() { 0 } else { parse_time(time)? };
    midnight.checked_add(millis)?.checked_sub(i64::from(offset) * 1000)
}

fn parse_date(text: &str) -> Option<NaiveDate> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = unsigned.split('-');
    let year = sign * digits(parts.next()?, 1..=9)?;
    let date = match (parts.next(), parts.next()) {
        (None, _) => NaiveDate::from_ymd_opt(year, 1, 1),
        (Some(second), day) if second.starts_with('W') => {
            let week = u32::try_from(digits(&second[1..], 1..=2)?).ok()?;
            let day = match day {
                Some(day) => Weekday::try_from(u8::try_from(digits(day, 1..=1)? - 1).ok()?).ok()?,
                None => Weekday::Mon,
            };
            NaiveDate::from_isoywd_opt(year, week, day)
        }
        (Some(ordinal), None) if ordinal.len() == 3 => {
            NaiveDate::from_yo_opt(year, u32::try_from(digits(ordinal, 3..=3)?).ok()?)
        }
        (Some(month), day) => {
            let month = u32::try_from(digits(month, 1..=2)?).ok()?;
            let day = u32::try_from(day.map_or(Some(1), |day| digits(day, 1..=2))?).ok()?;
            NaiveDate::from_ymd_opt(year, month, day)
        }
    }?;
    (parts.next().is_none() && date.year().abs() < 262_000).then_some(date)
}

/// Cuts the offset, in seconds, off a time.
fn split_offset(time: &str) -> Option<(&str, i32)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    match time.find(['+', '-']) {
        Some(at) => Some((&time[..at], parse_offset(&time[at..])?)),
        None => Some((time, 0)),
    }
}

fn parse_time(text: &str) -> Option<i64> {
    let (whole, fraction) = match text.find(['.', ',']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let mut millis = 0;
    let mut unit = 3_600_000;
    let mut limit = 23;
    let parts: Vec<&str> = whole.split(':').collect();
    if parts.len() > 3 {
        return None;
    }
    for (at, part) in parts.iter().enumerate() {
        let value = i64::from(digits(part, 1..=2)?);
        if value > limit {
            return None;
        }
        limit = 59;
        millis += value * unit;
        if at + 1 < parts.len() {
            unit /= 60;
        }
    }
    let Some(fraction) = fraction else { return Some(millis) };
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Nine digits tell a millisecond of an hour; what follows is below it.
    let kept = &fraction[..fraction.len().min(9)];
    let scale = 10_i64.pow(u32::try_from(kept.len()).ok()?);
    Some(millis + kept.parse::<i64>().ok()? * unit / scale)
}

fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> Option<i32> {
    (length.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use towpath_sdk::Bytes;
    use towpath_sdk::schema::{Kind, Schema};
    use towpath_sdk::value::{Datum, Json, Struct};

    use super::*;

    /// `text <tab> milliseconds or -`, by Joda-Time's `ISODateTimeFormat.dateTimeParser()` in UTC.
    #[test]
    fn reads_what_joda_reads() {
        for line in include_str!("joda_iso_golden.tsv").lines().filter(|l| !l.starts_with('#')) {
            let (text, millis) = line.split_once('\t').unwrap();
            let absurd = text == "20240101";
            assert_eq!(parse_iso(text), millis.parse().ok().filter(|_| !absurd), "{line}");
        }
    }

    fn json(text: &'static str) -> Record {
        let json = Json::new(Bytes::from_static(text.as_bytes())).unwrap();
        Record::new("t", Datum::schemaless(Value::Json(json)))
    }

    fn field(path: &str) -> Extractor {
        Extractor::Field(FieldPath::new(path))
    }

    #[test]
    fn a_record_tells_its_time() {
        let mut record = json("{}");
        assert_eq!(Extractor::Wallclock.extract(&record, 7).unwrap(), 7);
        assert!(Extractor::Record.extract(&record, 7).is_err());
        record.timestamp = Some(5);
        assert_eq!(Extractor::Record.extract(&record, 7).unwrap(), 5);
    }

    #[test]
    fn a_field_tells_the_time() {
        let record = json(
            r#"{"ms":1500,"f":12.9,"iso":"1970-01-01T00:00:02Z","in":{"ner":3},"a.b":{"c":4},
                "bad":"soon","no":null,"b":true}"#,
        );
        let at = |path: &str| field(path).extract(&record, 0);
        assert_eq!(at("ms").unwrap(), 1500);
        assert_eq!(at("f").unwrap(), 12);
        assert_eq!(at("iso").unwrap(), 2000);
        assert_eq!(at("in.ner").unwrap(), 3);
        assert_eq!(at("\"a.b\".c").unwrap(), 4);
        for (path, text) in [
            ("bad", "is no ISO 8601 date and time"),
            ("no", "is null"),
            ("b", "is neither a number of milliseconds nor a text"),
            ("in.x", "does not exist"),
        ] {
            let error = at(path).unwrap_err().to_string();
            assert_eq!(error, format!("the value's field '{path}' (timestamp.field) {text}"));
        }
    }

    #[test]
    fn a_struct_tells_the_time() {
        let schema = Arc::new(Schema::structure([("at", Arc::new(Schema::new(Kind::Int64)))]));
        let value = Struct::new(Arc::clone(&schema), vec![Value::Int64(9)]).unwrap();
        let record = Record::new("t", Datum::new(schema, Value::Struct(value)));
        assert_eq!(field("at").extract(&record, 0).unwrap(), 9);
    }
}
