//! Names of objects.
//!
//! Duty: turn where a record belongs into an object's key. A **path** is the whole key with a
//! placeholder where the offset of the object's first record goes, so that the two dialects
//! (Confluent's directories, Aiven's `file.name.template`) are one thing to everybody else.
//!
//! A name that is taken by somebody else is stepped over: the offset gets a suffix (`…+0000000042+1`).

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, Datelike as _, Timelike as _};

use crate::joda::Zone;

/// Stands for the offset as the layout writes it.
pub const OFFSET: char = '\u{0}';
/// Stands for the offset with 20 digits.
pub const PADDED_OFFSET: char = '\u{1}';
/// The least digits of [`PADDED_OFFSET`].
const PADDED_WIDTH: usize = 20;
/// The longest key that S3 takes, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// How offsets are written into paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetStyle {
    /// The least number of digits.
    pub width: usize,
    /// Between the offset and the number of names that were stepped over.
    pub delimiter: String,
}

impl OffsetStyle {
    /// The key of the object of `path` that starts at `start`, after stepping over `step` names.
    #[must_use]
    pub fn key(&self, path: &str, start: i64, step: u32) -> String {
        let mut key = String::with_capacity(path.len() + self.width + 8);
        for c in path.chars() {
            let width = match c {
                OFFSET => self.width,
                PADDED_OFFSET => PADDED_WIDTH,
                c => {
                    key.push(c);
                    continue;
                }
            };
            // Writing to a string can't fail.
            write!(key, "{start:0width$}").ok();
            if step > 0 {
                write!(key, "{}{step}", self.delimiter).ok();
            }
        }
        key
    }

    /// Where to look for keys of objects of `path` that start in `from..before`: offsets with as many
    /// digits lie together in the order of keys.
    #[must_use]
    pub fn stretches(&self, path: &str, from: i64, before: i64) -> Vec<Stretch> {
        let at = path.find([OFFSET, PADDED_OFFSET]).unwrap_or(path.len());
        let padded = path[at..].starts_with(PADDED_OFFSET);
        let width = if padded { PADDED_WIDTH } else { self.width };
        let (mut stretches, mut from) = (Vec::new(), from.max(0));
        while from < before {
            let digits = format!("{from:0width$}");
            let longer = u32::try_from(digits.len()).ok().and_then(|n| 10_i64.checked_pow(n));
            let end = before.min(longer.unwrap_or(i64::MAX));
            stretches.push(Stretch {
                prefix: path[..at].to_owned(),
                // All names of the least offset come behind what is left when its last digit goes.
                after: format!("{}{}", &path[..at], &digits[..digits.len() - 1]),
                last: format!("{:0width$}", end - 1),
                offsets: from..end,
            });
            from = end;
        }
        stretches
    }

    /// Whether `key` is one that [`OffsetStyle::key`] gives for some path that `path` could be: the
    /// parts around the offset are equal, and digits stand in its place.
    #[must_use]
    pub fn could_be(key: &str, before: &str, after: &str) -> bool {
        let offset = key.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        offset.is_some_and(|offset| offset.starts_with(|c: char| c.is_ascii_digit()))
    }
}

/// Keys that lie together in the order of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// What all of them begin with.
    pub prefix: String,
    /// They come behind this.
    pub after: String,
    last: String,
    offsets: Range<i64>,
}

impl Stretch {
    /// Whether `key` is that of an object which starts in this stretch.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        let digits = key.strip_prefix(&self.prefix).map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse()
        });
        matches!(digits, Some(Ok(start)) if self.offsets.contains(&start))
    }

    /// Whether `key` comes behind all of them.
    #[must_use]
    pub fn is_behind(&self, key: &str) -> bool {
        let rest = key.as_bytes().get(self.prefix.len()..).unwrap_or_default();
        rest[..rest.len().min(self.last.len())] > *self.last.as_bytes()
    }
}

/// Confluent's layout: `<topics.dir>/<topic>/<partition path>/<topic>+<partition>+<offset>.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directories {
    /// Above all topics; may be empty.
    pub top: String,
    /// Between directories.
    pub delimiter: String,
    /// Between the parts of a file's name.
    pub file_delimiter: String,
    /// The end of every name, with its dot.
    pub extension: String,
}

impl Directories {
    /// The path of records of `topic` and `partition` which the partitioner puts into `directory`.
    #[must_use]
    pub fn path(&self, topic: &str, partition: i32, directory: &str) -> Arc<str> {
        let Self { delimiter, file_delimiter, extension, .. } = self;
        format!(
            "{}{directory}{delimiter}{topic}{file_delimiter}{partition}{file_delimiter}{OFFSET}{extension}",
            self.topic_prefix(topic)
        )
        .into()
    }

    /// What the key of every object of `topic` starts with.
    #[must_use]
    pub fn topic_prefix(&self, topic: &str) -> String {
        let Self { top, delimiter, .. } = self;
        if top.trim().is_empty() {
            format!("{topic}{delimiter}")
        } else {
            format!("{top}{delimiter}{topic}{delimiter}")
        }
    }

    /// Whether `key` is the name of an object of `topic` and `partition`.
    #[must_use]
    pub fn owns(&self, key: &str, topic: &str, partition: i32) -> bool {
        let (file, dir) = (&self.file_delimiter, &self.delimiter);
        let inside = key.strip_prefix(&self.topic_prefix(topic));
        let name = format!("{dir}{topic}{file}{partition}{file}");
        inside.and_then(|rest| rest.rfind(&name).map(|at| &rest[at..])).is_some_and(|last| {
            OffsetStyle::could_be(last, &name, &self.extension)
                && !last[name.len()..].contains(dir.as_str())
        })
    }
}

/// Aiven's `file.name.template`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Topic,
    Partition { padded: bool },
    StartOffset { padded: bool },
    Timestamp(Unit),
    Key,
}

/// A part of a timestamp in a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Year,
    Month,
    Day,
    Hour,
    Date,
}

/// The text of a template does not parse; the reason.
pub type TemplateError = String;

impl Template {
    /// Parses `{{ variable[:parameter=value] }}` between text.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn new(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            let close = rest[open..]
                .find("}}")
                .map(|at| open + at)
                .ok_or_else(|| format!("a {{{{ is not closed in \"{text}\""))?;
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            parts.push(Part::parse(rest[open + 2..close].trim())?);
            rest = &rest[close + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// Whether objects are named so that none overwrites another: topic, partition and start offset
    /// must all be there.
    ///
    /// # Errors
    /// With what is missing.
    pub fn check(&self) -> Result<(), TemplateError> {
        let missing: Vec<_> = [
            ("topic", self.has(|part| matches!(part, Part::Topic))),
            ("partition", self.has(|part| matches!(part, Part::Partition { .. }))),
            ("start_offset", self.has(|part| matches!(part, Part::StartOffset { .. }))),
        ]
        .into_iter()
        .filter(|(_, there)| !there)
        .map(|(name, _)| name)
        .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!(
            "the template lacks {} (names by {{{{key}}}} alone would overwrite objects, which this \
             sink never does)",
            missing.join(", ")
        ))
    }

    fn has(&self, what: impl Fn(&Part) -> bool) -> bool {
        self.parts.iter().any(what)
    }

    /// The text before the first variable.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Whether a record's time matters.
    #[must_use]
    pub fn uses_time(&self) -> bool {
        self.has(|part| matches!(part, Part::Timestamp(_)))
    }

    /// Whether a record's key matters.
    #[must_use]
    pub fn uses_key(&self) -> bool {
        self.has(|part| matches!(part, Part::Key))
    }

    /// The path of a record. `None` if the time is out of any calendar.
    #[must_use]
    pub fn path(&self, of: &Variables<'_>) -> Option<Arc<str>> {
        let mut path = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Topic => path.push_str(of.topic),
                Part::Partition { padded: false } => write!(path, "{}", of.partition).ok()?,
                Part::Partition { padded: true } => write!(path, "{:010}", of.partition).ok()?,
                Part::StartOffset { padded: false } => path.push(OFFSET),
                Part::StartOffset { padded: true } => path.push(PADDED_OFFSET),
                Part::Timestamp(unit) => unit.print(of.time, of.zone, &mut path)?,
                Part::Key => path.push_str(of.key),
            }
        }
        Some(path.into())
    }

    /// What every key of `topic` and `partition` starts with, as far as that is known beforehand.
    #[must_use]
    pub fn prefix(&self, topic: &str, partition: i32) -> String {
        let known = self.parts.iter().take_while(|part| {
            matches!(part, Part::Text(_) | Part::Topic | Part::Partition { .. })
        });
        let known = Self { parts: known.cloned().collect() };
        let none = Variables { topic, partition, key: "", time: 0, zone: &Zone::UTC };
        known.path(&none).map(|path| path.to_string()).unwrap_or_default()
    }

    /// Whether `key` is the name of an object of `topic` and `partition`: the template's texts occur
    /// in it in order, and digits stand for each number.
    #[must_use]
    pub fn owns(&self, key: &str, topic: &str, partition: i32) -> bool {
        fn matches(parts: &[Part], key: &str, topic: &str, partition: i32) -> bool {
            let Some((part, rest)) = parts.split_first() else { return key.is_empty() };
            let exactly = |text: &str| {
                key.strip_prefix(text).is_some_and(|key| matches(rest, key, topic, partition))
            };
            let any = |allowed: &dyn Fn(&str) -> bool| {
                (1..=key.len())
                    .filter(|at| key.is_char_boundary(*at))
                    .any(|at| allowed(&key[..at]) && matches(rest, &key[at..], topic, partition))
            };
            let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
            match part {
                Part::Text(text) => exactly(text),
                Part::Topic => exactly(topic),
                Part::Partition { padded: false } => exactly(&partition.to_string()),
                Part::Partition { padded: true } => exactly(&format!("{partition:010}")),
                Part::StartOffset { .. } | Part::Timestamp(_) => any(&digits),
                Part::Key => any(&|_| true),
            }
        }
        matches(&self.parts, key, topic, partition)
    }
}

/// What a template's variables stand for.
#[derive(Debug, Clone, Copy)]
pub struct Variables<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The Kafka partition.
    pub partition: i32,
    /// The record's key as text.
    pub key: &'a str,
    /// The record's time.
    pub time: i64,
    /// The zone that the time is shown in.
    pub zone: &'a Zone,
}

impl Part {
    fn parse(text: &str) -> Result<Self, TemplateError> {
        let (name, parameter) = match text.split_once(':') {
            Some((name, parameter)) => (name.trim(), Some(parameter.trim())),
            None => (text, None),
        };
        let padded = || match parameter {
            None => Ok(false),
            Some(parameter) => match parameter.split_once('=').map(|(k, v)| (k.trim(), v.trim())) {
                Some(("padding", "true")) => Ok(true),
                Some(("padding", "false")) => Ok(false),
                _ => Err(format!("{{{{{text}}}}}: the parameter is padding=true or padding=false")),
            },
        };
        let plain = |part| match parameter {
            None => Ok(part),
            Some(_) => Err(format!("{{{{{text}}}}}: {name} takes no parameter")),
        };
        match name {
            "topic" => plain(Self::Topic),
            "key" => plain(Self::Key),
            "partition" => Ok(Self::Partition { padded: padded()? }),
            "start_offset" => Ok(Self::StartOffset { padded: padded()? }),
            "utc_date" => plain(Self::Timestamp(Unit::Date)),
            "timestamp" => {
                let unit =
                    parameter.and_then(|p| p.split_once('=')).map(|(k, v)| (k.trim(), v.trim()));
                let unit = match unit {
                    Some(("unit", "yyyy" | "YYYY")) => Unit::Year,
                    Some(("unit", "MM")) => Unit::Month,
                    Some(("unit", "dd")) => Unit::Day,
                    Some(("unit", "HH")) => Unit::Hour,
                    _ => {
                        let why = "the parameter is unit=yyyy, unit=MM, unit=dd or unit=HH";
                        return Err(format!("{{{{{text}}}}}: {why}"));
                    }
                };
                Ok(Self::Timestamp(unit))
            }
            _ => Err(format!(
                "unknown variable {{{{{text}}}}}, known are topic, partition, start_offset, \
                 timestamp and key"
            )),
        }
    }
}

impl Unit {
    fn print(self, time: i64, zone: &Zone, out: &mut String) -> Option<()> {
        let local = time.checked_add(zone.offset_millis_at(time)?)?;
        let at = DateTime::from_timestamp_millis(local)?;
        match self {
            Self::Year => write!(out, "{:04}", at.year()),
            Self::Month => write!(out, "{:02}", at.month()),
            Self::Day => write!(out, "{:02}", at.day()),
            Self::Hour => write!(out, "{:02}", at.hour()),
            Self::Date => write!(out, "{:04}-{:02}-{:02}", at.year(), at.month(), at.day()),
        }
        .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directories() -> Directories {
        Directories {
            top: "topics".to_owned(),
            delimiter: "/".to_owned(),
            file_delimiter: "+".to_owned(),
            extension: ".json.gz".to_owned(),
        }
    }

    fn style(width: usize) -> OffsetStyle {
        OffsetStyle { width, delimiter: "+".to_owned() }
    }

    #[test]
    fn confluents_layout() {
        let path = directories().path("a.b", 3, "partition=3");
        let key = |start, step| style(10).key(&path, start, step);
        assert_eq!(key(42, 0), "topics/a.b/partition=3/a.b+3+0000000042.json.gz");
        assert_eq!(key(42, 2), "topics/a.b/partition=3/a.b+3+0000000042+2.json.gz");
        assert_eq!(
            style(0).key(&path, 12_345_678_901, 0).rsplit('+').next(),
            Some("12345678901.json.gz")
        );
        let bare = Directories { top: " ".to_owned(), ..directories() };
        assert_eq!(style(0).key(&bare.path("t", 0, "d"), 0, 0), "t/d/t+0+0.json.gz");
    }

    #[test]
    fn own_names_are_known() {
        let directories = directories();
        let key = style(10).key(&directories.path("t", 1, "year=2024/x+y"), 7, 1);
        assert!(directories.owns(&key, "t", 1), "{key}");
        for other in [
            "topics/t/d/t+11+0000000007.json.gz",
            "topics/t/d/t+1+0000000007.json",
            "topics/t/d/t+1+.json.gz",
            "topics/u/d/t+1+0000000007.json.gz",
            "topics/t/t+1+0/x.json.gz",
            "t+1+0000000007.json.gz",
        ] {
            assert!(!directories.owns(other, "t", 1), "{other}");
        }
    }

    /// Keys of offsets in a range are found by their place among all keys, however they are padded.
    #[test]
    fn stretches_cover_the_keys_of_their_offsets() {
        let template = |text: &str| {
            let of = Variables { topic: "t", partition: 0, key: "", time: 0, zone: &Zone::UTC };
            Template::new(text).unwrap().path(&of).unwrap()
        };
        let paths = [
            (directories().path("t", 0, "d"), 10),
            (directories().path("t", 0, "d"), 0),
            (directories().path("t", 0, "d"), 3),
            (template("a/{{start_offset}}_x.gz"), 0),
            (template("a/{{start_offset:padding=true}}.gz"), 0),
        ];
        for (path, width) in paths {
            let style = style(width);
            let starts = (0..1200).chain([9_999, 10_000, 99_999, 1_000_000]);
            let mut keys: Vec<(String, i64)> = starts
                .flat_map(|start| (0..2).map(move |step| (start, step)))
                .map(|(start, step)| (style.key(&path, start, step), start))
                .collect();
            keys.sort();
            for (from, before) in [(0, 1), (5, 5), (8, 12), (95, 105), (100, 180), (7, 1100)] {
                let mut found: Vec<i64> = Vec::new();
                for stretch in style.stretches(&path, from, before) {
                    let listed = keys.iter().filter(|(key, _)| {
                        key.starts_with(&stretch.prefix) && *key > stretch.after
                    });
                    let near = listed.take_while(|(key, _)| !stretch.is_behind(key));
                    let of = near.filter(|(key, _)| stretch.contains(key));
                    found.extend(of.map(|(_, start)| start));
                }
                found.sort_unstable();
                let want: Vec<i64> = (from..before).flat_map(|start| [start, start]).collect();
                assert_eq!(found, want, "{path:?} {width} {from}..{before}");
            }
        }
    }

    fn path(template: &str, key: &str, zone: &str) -> String {
        let zone = Zone::for_id(zone).unwrap();
        // 2024-12-31T23:30:00Z
        let of =
            Variables { topic: "t-1", partition: 7, key, time: 1_735_687_800_000, zone: &zone };
        let path = Template::new(template).unwrap().path(&of).unwrap();
        style(0).key(&path, 42, 0)
    }

    #[test]
    fn aivens_template() {
        assert_eq!(path("{{topic}}-{{partition}}-{{start_offset}}.gz", "", "UTC"), "t-1-7-42.gz");
        assert_eq!(
            path("{{ partition:padding=true }}/{{start_offset:padding=true}}/{{topic}}", "", "UTC"),
            "0000000007/00000000000000000042/t-1"
        );
        assert_eq!(
            path(
                "{{timestamp:unit=yyyy}}/{{timestamp:unit=MM}}/{{timestamp:unit=dd}}/{{timestamp:unit=HH}}",
                "",
                "Europe/Berlin"
            ),
            "2025/01/01/00"
        );
        assert_eq!(path("{{utc_date}}/{{key}}", "k", "UTC"), "2024-12-31/k");
    }

    #[test]
    fn a_stepped_over_template_name_keeps_its_shape() {
        let template =
            Template::new("{{topic}}/{{partition}}/{{start_offset:padding=true}}.gz").unwrap();
        let of = Variables { topic: "t", partition: 0, key: "", time: 0, zone: &Zone::UTC };
        let style = OffsetStyle { width: 0, delimiter: "-".to_owned() };
        let key = style.key(&template.path(&of).unwrap(), 5, 1);
        assert_eq!(key, "t/0/00000000000000000005-1.gz");
        assert!(template.owns(&key, "t", 0));
        assert!(!template.owns("t/0/5.txt", "t", 0));
        assert!(!template.owns("t/10/5.gz", "t", 0));
        assert_eq!(template.prefix("t", 0), "t/0/");
    }

    #[test]
    fn wrong_templates_are_refused() {
        for (template, reason) in [
            ("{{topic}", "a {{ is not closed in \"{{topic}\""),
            (
                "{{offset}}",
                "unknown variable {{offset}}, known are topic, partition, start_offset, timestamp and key",
            ),
            (
                "{{partition:padding=yes}}",
                "{{partition:padding=yes}}: the parameter is padding=true or padding=false",
            ),
            (
                "{{timestamp}}",
                "{{timestamp}}: the parameter is unit=yyyy, unit=MM, unit=dd or unit=HH",
            ),
            ("{{topic:x=y}}", "{{topic:x=y}}: topic takes no parameter"),
        ] {
            assert_eq!(Template::new(template).unwrap_err(), reason);
        }
        assert!(Template::new("{{topic}}-{{partition}}-{{start_offset}}").unwrap().check().is_ok());
        let error = Template::new("{{key}}").unwrap().check().unwrap_err();
        assert!(error.starts_with("the template lacks topic, partition, start_offset"), "{error}");
    }
}
