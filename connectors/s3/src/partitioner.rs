//! Which path a record belongs to.
//!
//! Duty: Confluent's partitioners (default, field, time-based with its daily and hourly forms), the
//! combination of fields and time, and Aiven's template. An [`Encoder`] serves one Kafka partition
//! and keeps what it found last, so that a run of records of one path costs a comparison each.
//!
//! Deliberately absent: classes of one's own.

use std::sync::Arc;

use towpath_sdk::error::{Error, ErrorKind, Result};
use towpath_sdk::record::{Record, Topic};
use towpath_sdk::value::Value;

use crate::joda::{Pattern, Zone};
use crate::name::{Directories, MAX_KEY_BYTES, Template, Variables};
use crate::timestamp::{Extractor, FieldPath};

/// How paths are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partitioner {
    /// What decides.
    pub by: By,
    /// What reads a record's time, if anything here needs one.
    pub extractor: Option<Extractor>,
}

/// What decides about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// Directories of Confluent's layout.
    Directory {
        /// The layout around them.
        layout: Directories,
        /// `<name>=<value>` for each of these fields.
        fields: Vec<FieldPath>,
        /// Then the time.
        time: Option<TimePath>,
    },
    /// Aiven's template.
    Template {
        /// The template.
        template: Template,
        /// The zone of its timestamps.
        zone: Zone,
    },
}

/// How a time becomes directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimePath {
    /// Times are rounded down to multiples of this in local time, in milliseconds.
    pub duration_ms: i64,
    /// How the rounded time is written.
    pub pattern: Pattern,
    /// Local to where.
    pub zone: Zone,
}

impl TimePath {
    /// The start of the span that `time` falls into (local time divided as Java divides), and times
    /// that share it.
    fn bucket(&self, time: i64) -> Option<(i64, Times)> {
        let offset = self.zone.offset_millis_at(time)?;
        let local = time.checked_add(offset)?;
        let start = local / self.duration_ms * self.duration_ms;
        let times = if start <= local && local >= 0 {
            let (from, before) = minute_of(time);
            let end = start.saturating_add(self.duration_ms);
            (from.max(start - offset), before.min(end - offset))
        } else {
            // Java divides towards zero: before 1970, the span around zero is longer.
            (time, time + 1)
        };
        Some((self.zone.local_to_utc(start)?, times))
    }
}

/// The minute around `time`: zones change their offset at full minutes only.
fn minute_of(time: i64) -> Times {
    let minute = time.div_euclid(60_000) * 60_000;
    (minute, minute + 60_000)
}

impl Partitioner {
    /// Whether the wall clock is in the paths.
    #[must_use]
    pub fn by_clock(&self) -> bool {
        let timed = match &self.by {
            By::Directory { time, .. } => time.is_some(),
            By::Template { template, .. } => template.uses_time(),
        };
        timed && self.extractor == Some(Extractor::Wallclock)
    }
}

/// Where a record belongs.
#[derive(Debug, Clone)]
pub struct Place {
    /// The path; see [`crate::name`].
    pub path: Arc<str>,
    /// The record's time, where the partitioner needs one.
    pub time: Option<i64>,
}

/// Makes paths for one Kafka partition.
#[derive(Debug)]
pub struct Encoder {
    partitioner: Arc<Partitioner>,
    partition: i32,
    last: Option<Last>,
    scratch: String,
}

/// What the last path was made of.
#[derive(Debug)]
struct Last {
    topic: Topic,
    fields: String,
    /// Times that lead to the same path.
    times: Option<Times>,
    path: Arc<str>,
}

/// From, and before.
type Times = (i64, i64);

impl Encoder {
    /// An encoder of Kafka partition `partition`.
    #[must_use]
    pub fn new(partitioner: Arc<Partitioner>, partition: i32) -> Self {
        Self { partitioner, partition, last: None, scratch: String::new() }
    }

    /// Where `record` belongs; `now` is the wall clock.
    ///
    /// # Errors
    /// If the record lacks what the path is made of.
    pub fn place(&mut self, record: &Record, now: i64) -> Result<Place> {
        let Self { partitioner, scratch, last, .. } = self;
        let time = partitioner.extractor.as_ref().map(|e| e.extract(record, now)).transpose()?;
        scratch.clear();
        match &partitioner.by {
            By::Directory { fields, layout, .. } => {
                for field in fields {
                    append_field(field, &record.value.value, &layout.delimiter, scratch)?;
                }
            }
            By::Template { template, .. } if template.uses_key() => {
                append_key(&record.key.value, scratch)?;
            }
            By::Template { .. } => {}
        }
        if let Some(last) = last.as_ref().filter(|last| last.serves(record, scratch, time)) {
            return Ok(Place { path: Arc::clone(&last.path), time });
        }
        let (path, times) = self.make(record, time)?;
        check_key(&path)?;
        self.last = Some(Last {
            topic: Arc::clone(&record.topic),
            fields: self.scratch.clone(),
            times,
            path: Arc::clone(&path),
        });
        Ok(Place { path, time })
    }

    fn make(&self, record: &Record, time: Option<i64>) -> Result<(Arc<str>, Option<Times>)> {
        let unprintable =
            || Error::data("the record's time is beyond any calendar, so it has no path");
        match (&self.partitioner.by, time) {
            (By::Directory { layout, fields, time: Some(path) }, Some(time)) => {
                let (bucket, times) = path.bucket(time).ok_or_else(unprintable)?;
                let text = path.pattern.format(bucket, &path.zone).ok_or_else(unprintable)?;
                let mut directory = self.scratch.clone();
                if !fields.is_empty() {
                    directory.push_str(&layout.delimiter);
                }
                directory.push_str(&text);
                let path = layout.path(&record.topic, self.partition, &directory);
                Ok((path, Some(times)))
            }
            (By::Directory { layout, fields, .. }, _) => {
                let default = || format!("partition={}", self.partition);
                let directory = if fields.is_empty() { default() } else { self.scratch.clone() };
                Ok((layout.path(&record.topic, self.partition, &directory), None))
            }
            (By::Template { template, zone }, time) => {
                let time = time.filter(|_| template.uses_time());
                let of = Variables {
                    topic: &record.topic,
                    partition: self.partition,
                    key: &self.scratch,
                    time: time.unwrap_or_default(),
                    zone,
                };
                let path = template.path(&of).ok_or_else(unprintable)?;
                Ok((path, time.and_then(|time| same_hour(time, zone))))
            }
        }
    }
}

impl Last {
    fn serves(&self, record: &Record, fields: &str, time: Option<i64>) -> bool {
        let same_time = match (self.times, time) {
            (Some((from, to)), Some(time)) => (from..to).contains(&time),
            (None, _) => true,
            (Some(_), None) => false,
        };
        same_time
            && (Arc::ptr_eq(&self.topic, &record.topic) || self.topic == record.topic)
            && self.fields == fields
    }
}

/// Times in the same local hour as `time`.
fn same_hour(time: i64, zone: &Zone) -> Option<Times> {
    let local = time.checked_add(zone.offset_millis_at(time)?)?;
    let (from, before) = minute_of(time);
    let hour = time - local.rem_euclid(3_600_000);
    Some((from.max(hour), before.min(hour.checked_add(3_600_000)?)))
}

/// Appends `name=value`, after a delimiter if it is not the first.
fn append_field(field: &FieldPath, value: &Value, delimiter: &str, out: &mut String) -> Result<()> {
    let wrong = |what: &str| {
        Err(Error::data(format!(
            "the value's field '{}' (partition.field.name) {what}",
            field.as_str()
        )))
    };
    if !out.is_empty() {
        out.push_str(delimiter);
    }
    out.push_str(field.as_str());
    out.push('=');
    match field.find(value) {
        Some(Value::String(text)) => out.push_str(&text),
        Some(Value::Boolean(is)) => out.push_str(if is { "true" } else { "false" }),
        Some(Value::Null) => out.push_str("null"),
        Some(other) => match other.as_i64() {
            Some(n) => out.push_str(itoa::Buffer::new().format(n)),
            None => return wrong("is no text, whole number or boolean"),
        },
        None => return wrong("does not exist"),
    }
    Ok(())
}

/// Appends a record's key as Aiven writes it into names.
fn append_key(key: &Value, out: &mut String) -> Result<()> {
    match key {
        Value::Null => out.push_str("null"),
        Value::String(text) => out.push_str(text),
        Value::Boolean(is) => out.push_str(&is.to_string()),
        Value::Json(json) => out.push_str(json.as_str()),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => out.push_str(text),
            Err(_) => {
                return Err(Error::data(
                    "the key is not UTF-8, so it can't be in an object's name",
                ));
            }
        },
        other => match other.as_i64() {
            Some(n) => out.push_str(&n.to_string()),
            None => return Err(Error::data("a key of this type can't be in an object's name")),
        },
    }
    Ok(())
}

/// A path must be a key that every store takes: not too long, no step up, no control characters but
/// the placeholders.
fn check_key(path: &str) -> Result<()> {
    // The offset and the steps over taken names need up to 24 bytes more.
    if path.len() + 24 > MAX_KEY_BYTES {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("the object's name would be longer than S3's {MAX_KEY_BYTES} bytes"),
        ));
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(Error::data("the object's name would have '.' or '..' as a directory"));
    }
    if path.chars().any(|c| c.is_control() && c > crate::name::PADDED_OFFSET) {
        return Err(Error::data("the object's name would contain a control character"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use towpath_sdk::Bytes;
    use towpath_sdk::value::{Datum, Json};

    use super::*;
    use crate::name::OFFSET;

    fn layout() -> Directories {
        Directories {
            top: "topics".to_owned(),
            delimiter: "/".to_owned(),
            file_delimiter: "+".to_owned(),
            extension: ".json".to_owned(),
        }
    }

    fn timed(pattern: &str, duration_ms: i64, zone: &str) -> TimePath {
        TimePath {
            duration_ms,
            pattern: Pattern::new(pattern).unwrap(),
            zone: Zone::for_id(zone).unwrap(),
        }
    }

    fn by_directory(fields: &[&str], time: Option<TimePath>) -> Encoder {
        let extractor = time.as_ref().map(|_| Extractor::Record);
        let fields = fields.iter().map(|f| FieldPath::new(f)).collect();
        let by = By::Directory { layout: layout(), fields, time };
        Encoder::new(Arc::new(Partitioner { by, extractor }), 3)
    }

    fn record(json: &str, time: i64) -> Record {
        let json = Json::new(Bytes::from(json.to_owned())).unwrap();
        let mut record = Record::new("t", Datum::schemaless(Value::Json(json)));
        record.timestamp = Some(time);
        record
    }

    /// The directories between the topic's and the file's name.
    fn directory(encoder: &mut Encoder, record: &Record) -> String {
        let path = encoder.place(record, 0).unwrap().path;
        let end = format!("/t+3+{OFFSET}.json");
        path.strip_prefix("topics/t/").and_then(|p| p.strip_suffix(&end)).unwrap().to_owned()
    }

    #[test]
    fn by_kafka_partition() {
        let mut encoder = by_directory(&[], None);
        assert_eq!(directory(&mut encoder, &record("{}", 0)), "partition=3");
        let mut other = record("{}", 0);
        other.topic = "renamed".into();
        let path = encoder.place(&other, 0).unwrap().path;
        assert!(path.starts_with("topics/renamed/partition=3/renamed+3+"), "{path}");
    }

    #[test]
    fn by_fields() {
        let mut encoder = by_directory(&["country", "age", "in.ner", "yes"], None);
        let value = r#"{"country":"fr","age":7,"in":{"ner":null},"yes":true}"#;
        let found = directory(&mut encoder, &record(value, 0));
        assert_eq!(found, "country=fr/age=7/in.ner=null/yes=true");
        for (value, reason) in [
            ("{}", "does not exist"),
            (r#"{"country":1.5}"#, "is no text, whole number or boolean"),
        ] {
            let error = encoder.place(&record(value, 0), 0).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("the value's field 'country' (partition.field.name) {reason}")
            );
        }
    }

    #[test]
    fn by_time_and_by_both() {
        let hourly = timed("'year'=YYYY/'month'=MM/'day'=dd/'hour'=HH", 3_600_000, "Asia/Kolkata");
        let mut encoder = by_directory(&[], Some(hourly.clone()));
        // 2024-03-01T10:45Z is 16:15 in Kolkata.
        let time = 1_709_289_900_000;
        assert_eq!(
            directory(&mut encoder, &record("{}", time)),
            "year=2024/month=03/day=01/hour=16"
        );
        assert_eq!(encoder.place(&record("{}", time), 0).unwrap().time, Some(time));
        let mut encoder = by_directory(&["u"], Some(hourly));
        assert_eq!(
            directory(&mut encoder, &record(r#"{"u":"x"}"#, time)),
            "u=x/year=2024/month=03/day=01/hour=16"
        );
        assert!(encoder.place(&record(r#"{"u":"x"}"#, i64::MAX), 0).is_err());
    }

    #[test]
    fn by_template() {
        let template = Template::new("{{topic}}/{{key}}/{{partition}}-{{start_offset}}").unwrap();
        let by = By::Template { template, zone: Zone::UTC };
        let mut encoder = Encoder::new(Arc::new(Partitioner { by, extractor: None }), 3);
        let mut record = record("{}", 0);
        let mut path = |key: Value| {
            record.key = Datum::schemaless(key);
            encoder.place(&record, 0).map(|place| place.path.replace(OFFSET, "@"))
        };
        assert_eq!(path(Value::Null).unwrap(), "t/null/3-@");
        assert_eq!(path(Value::String("a".into())).unwrap(), "t/a/3-@");
        assert_eq!(path(Value::Int64(-4)).unwrap(), "t/-4/3-@");
        assert!(path(Value::Bytes(Bytes::from_static(b"\xff"))).is_err());
        assert!(path(Value::Float64(1.0)).is_err());
    }

    #[test]
    fn names_that_a_store_would_refuse_are_refused() {
        let mut encoder = by_directory(&["f"], None);
        let mut place = |f: &str| {
            let value = serde_json::json!({ "f": f }).to_string();
            encoder.place(&record(&value, 0), 0).map_err(|e| e.kind()).err()
        };
        assert_eq!(place("a/b"), None);
        assert_eq!(place("a/../b"), Some(ErrorKind::Data));
        assert_eq!(place("a\u{7}"), Some(ErrorKind::Data));
        assert_eq!(place(&"x".repeat(1000)), Some(ErrorKind::TooLarge));
    }

    proptest! {
        /// What was kept of the last record never changes a path.
        #[test]
        fn keeping_the_last_changes_nothing(
            records in prop::collection::vec((0..3_u8, -90_000_000..90_000_000_i64), 1..40),
            base in prop::sample::select(vec![0, 1_711_846_800_000_i64, 1_699_164_000_000, -3]),
            duration in prop::sample::select(vec![1, 1000, 60_000, 7_000_000, 3_600_000, 86_400_000_i64]),
            zone in prop::sample::select(vec!["UTC", "America/New_York", "Europe/Paris", "Africa/Monrovia"]),
        ) {
            let time = timed("yyyy-MM-dd-HH-mm-ss-SSS", duration, zone);
            let mut kept = by_directory(&["f"], Some(time.clone()));
            for (field, at) in records {
                let record = record(&format!(r#"{{"f":{field}}}"#), base + at / 10);
                let mut fresh = by_directory(&["f"], Some(time.clone()));
                prop_assert_eq!(
                    kept.place(&record, 0).unwrap().path,
                    fresh.place(&record, 0).unwrap().path
                );
            }
        }
    }
}
