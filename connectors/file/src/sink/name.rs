//! Names of files.
//!
//! Duty: read a template and make names of it. A name is relative, stays below the directory, and
//! differs for each topic, partition and first offset.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike, Timelike};
use chrono_tz::Tz;

/// A template of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Topic,
    Partition { width: usize },
    StartOffset { width: usize },
    Time(Unit),
    Extension,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Year,
    Month,
    Day,
    Hour,
    Minute,
}

/// What a name is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) start_offset: i64,
    pub(super) extension: &'a str,
}

impl Template {
    /// Reads a template. The error is what would be right.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once("{{") {
            let (variable, after) = after.split_once("}}").ok_or("Expected }} after each {{")?;
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            parts.push(Part::parse(variable.trim())?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        let has = |wanted: fn(&Part) -> bool| parts.iter().any(wanted);
        if !(has(|p| *p == Part::Topic)
            && has(|p| matches!(p, Part::Partition { .. }))
            && has(|p| matches!(p, Part::StartOffset { .. })))
        {
            return Err("Expected {{topic}}, {{partition}} and {{start_offset}} in it".to_owned());
        }
        let template = Self(parts);
        template.check_path()?;
        Ok(template)
    }

    /// With any values in place of the variables, it must be a path below the directory. (A topic's
    /// name has no slash and is neither `.` nor `..`, so it can't change that.)
    fn check_path(&self) -> Result<(), String> {
        let names = Names { topic: "t", partition: 0, start_offset: 0, extension: "" };
        let name = self.name(names, DateTime::UNIX_EPOCH.with_timezone(&Tz::UTC));
        let sound = |segment: &str| !matches!(segment, "" | "." | ".." | ".towpath");
        if !name.split('/').all(sound) || name.contains('\0') {
            return Err(
                "Expected a path below the directory, without empty, '.' and '..' parts".to_owned()
            );
        }
        Ok(())
    }

    /// The name at `time`, in the time zone that names are in.
    pub(super) fn name(&self, names: Names<'_>, time: DateTime<Tz>) -> String {
        let mut name = String::new();
        for part in &self.0 {
            let wrote = match part {
                Part::Literal(text) => name.write_str(text),
                Part::Topic => name.write_str(names.topic),
                Part::Partition { width } => write!(name, "{:0width$}", names.partition),
                Part::StartOffset { width } => write!(name, "{:0width$}", names.start_offset),
                Part::Extension => name.write_str(names.extension),
                Part::Time(Unit::Year) => write!(name, "{:04}", time.year()),
                Part::Time(Unit::Month) => write!(name, "{:02}", time.month()),
                Part::Time(Unit::Day) => write!(name, "{:02}", time.day()),
                Part::Time(Unit::Hour) => write!(name, "{:02}", time.hour()),
                Part::Time(Unit::Minute) => write!(name, "{:02}", time.minute()),
            };
            // Writing to a string can't fail.
            debug_assert!(wrote.is_ok());
        }
        name
    }

    /// Whether names depend on time at all.
    pub(super) fn is_timed(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Time(_)))
    }
}

impl Part {
    fn parse(variable: &str) -> Result<Self, String> {
        let (name, parameter) = match variable.split_once(':') {
            Some((name, parameter)) => (name.trim(), Some(parameter.trim())),
            None => (variable, None),
        };
        let width = |digits| match parameter {
            None | Some("padding=false") => Ok(0),
            Some("padding=true") => Ok(digits),
            Some(_) => Err(format!("Expected {{{{{name}:padding=true}}}} or no parameter")),
        };
        match (name, parameter) {
            ("topic", None) => Ok(Self::Topic),
            ("extension", None) => Ok(Self::Extension),
            ("partition", _) => Ok(Self::Partition { width: width(10)? }),
            ("start_offset", _) => Ok(Self::StartOffset { width: width(20)? }),
            ("timestamp", Some("unit=yyyy")) => Ok(Self::Time(Unit::Year)),
            ("timestamp", Some("unit=MM")) => Ok(Self::Time(Unit::Month)),
            ("timestamp", Some("unit=dd")) => Ok(Self::Time(Unit::Day)),
            ("timestamp", Some("unit=HH")) => Ok(Self::Time(Unit::Hour)),
            ("timestamp", Some("unit=mm")) => Ok(Self::Time(Unit::Minute)),
            ("timestamp", _) => {
                Err("Expected {{timestamp:unit=…}} with yyyy, MM, dd, HH or mm".to_owned())
            }
            _ => Err(format!(
                "There is no {{{{{variable}}}}}; there are topic, partition, start_offset, \
                 timestamp and extension"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, expect: &str) {
        let template = Template::parse(template).unwrap();
        let time = DateTime::from_timestamp_millis(1_700_000_000_000).unwrap();
        let names = Names { topic: "t", partition: 3, start_offset: 42, extension: ".jsonl" };
        let zone: Tz = "Asia/Tokyo".parse().unwrap();
        assert_eq!(template.name(names, time.with_timezone(&zone)), expect);
    }

    #[test]
    fn names() {
        check("{{topic}}-{{partition}}-{{start_offset}}", "t-3-42");
        check(
            "{{ topic }}/{{timestamp:unit=yyyy}}-{{timestamp:unit=MM}}-{{timestamp:unit=dd}}/\
             {{timestamp:unit=HH}}{{timestamp: unit=mm}}/\
             p{{partition:padding=true}}_{{start_offset:padding=true}}{{extension}}",
            "t/2023-11-15/0713/p0000000003_00000000000000000042.jsonl",
        );
    }

    #[test]
    fn templates_that_are_refused() {
        let all = "{{topic}}{{partition}}{{start_offset}}";
        for (text, expect) in [
            (
                "{{topic}}-{{partition}}".to_owned(),
                "Expected {{topic}}, {{partition}} and {{start_offset}} in it",
            ),
            (format!("{all}{{{{x"), "Expected }} after each {{"),
            (
                format!("{all}{{{{key}}}}"),
                "There is no {{key}}; there are topic, partition, start_offset, timestamp and extension",
            ),
            (
                format!("{all}{{{{timestamp:unit=ss}}}}"),
                "Expected {{timestamp:unit=…}} with yyyy, MM, dd, HH or mm",
            ),
            (
                "{{topic}}{{partition:width=3}}{{start_offset}}".to_owned(),
                "Expected {{partition:padding=true}} or no parameter",
            ),
            (
                format!("/{all}"),
                "Expected a path below the directory, without empty, '.' and '..' parts",
            ),
            (
                format!("../{all}"),
                "Expected a path below the directory, without empty, '.' and '..' parts",
            ),
            (
                format!(".towpath/{all}"),
                "Expected a path below the directory, without empty, '.' and '..' parts",
            ),
        ] {
            assert_eq!(Template::parse(&text), Err(expect.to_owned()), "{text}");
        }
    }
}
