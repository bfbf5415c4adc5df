//! The keys of `file-sink`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;
use towpath_sdk::config::{ConfigEnum, ConnectorConfig, FieldError};

use super::name::Template;

/// The configuration of [`super::FileSink`].
#[derive(Debug, Clone, ConnectorConfig)]
#[config(validate = FileSinkConfig::check)]
pub struct FileSinkConfig {
    /// Where the files go. It is created if it is not there, and must be one file system.
    #[config(importance = high, validate = not_empty, group = "Files")]
    pub directory: PathBuf,
    /// The name of each file below the directory. `{{topic}}`, `{{partition}}` and `{{start_offset}}`,
    /// the offset of its first record, must be in it, so that no two files have one name;
    /// `:padding=true` makes numbers sort as text. `{{timestamp:unit=yyyy}}`, `MM`, `dd`, `HH` and
    /// `mm` are parts of a record's time. `{{extension}}` is `.jsonl` or `.txt`, with `.gz` if
    /// compressed.
    #[config(
        default = "{{topic}}/{{topic}}-{{partition}}-{{start_offset:padding=true}}{{extension}}",
        importance = high,
        width = long,
        group = "Files"
    )]
    pub file_name_template: String,
    /// The time zone of `{{timestamp}}`, such as `Europe/Berlin`. UTC knows no summer time, so that no
    /// hour comes twice.
    #[config(default = "UTC", validate = zone_exists, group = "Files")]
    pub timezone: String,
    /// What a line is.
    #[config(default = "json", importance = high, group = "Content")]
    pub format: Format,
    /// How files are compressed.
    #[config(default = "none", group = "Content")]
    pub compression: Compression,
    /// What becomes of records without a value.
    #[config(default = "write", group = "Content")]
    pub null_values: NullValues,
    /// Complete files after so many records of a partition; 0 does not count them.
    #[config(default = 100_000, importance = high, group = "Rotation")]
    pub rotate_records: u64,
    /// Complete files after so many bytes of a partition, before compression; 0 does not count them.
    #[config(default = 134_217_728, importance = high, group = "Rotation")]
    pub rotate_bytes: u64,
    /// Complete files so long after their first record, in milliseconds; 0 does not look at the clock.
    /// With it a crash can leave records in two files, so it is off; a topic on which little happens
    /// needs it.
    #[config(default = 0, importance = high, group = "Rotation")]
    pub rotate_interval_ms: Duration,
    /// The most files that a partition has open at once; all are completed before there would be one
    /// more. Enough for the hours of two days.
    #[config(default = 50, group = "Rotation")]
    pub max_open_files: NonZeroU32,
    /// Whether files survive a power cut once they are reported as written. Without it they survive
    /// the end of the worker only.
    #[config(default = true, importance = low, group = "Files")]
    pub fsync: bool,
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub enum Format {
    /// The value as JSON. Decimals are numbers; dates and times are text as in ISO 8601.
    Json,
    /// Text and bytes as they are, other values as JSON.
    Text,
}

/// How files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
}

/// What becomes of records without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub enum NullValues {
    /// A line: `null` as JSON, an empty one as text.
    Write,
    /// They are left out.
    Skip,
    /// They are rejected.
    Reject,
}

#[expect(clippy::ptr_arg, reason = "the derive hands out the field as it is")]
fn not_empty(path: &PathBuf) -> Result<(), String> {
    if path.as_os_str().is_empty() { Err("Expected a directory".to_owned()) } else { Ok(()) }
}

#[expect(clippy::ptr_arg, reason = "the derive hands out the field as it is")]
fn zone_exists(name: &String) -> Result<(), String> {
    let zone: Result<Tz, _> = name.parse();
    zone.map(drop).map_err(|_| "Expected a time zone such as UTC or Europe/Berlin".to_owned())
}

impl FileSinkConfig {
    /// The time zone; UTC if it does not exist, which parsing has ruled out.
    pub(super) fn zone(&self) -> Tz {
        self.timezone.parse().unwrap_or(Tz::UTC)
    }

    /// The end of names.
    pub(super) fn extension(&self) -> &'static str {
        match (self.format, self.compression) {
            (Format::Json, Compression::None) => ".jsonl",
            (Format::Json, Compression::Gzip) => ".jsonl.gz",
            (Format::Text, Compression::None) => ".txt",
            (Format::Text, Compression::Gzip) => ".txt.gz",
        }
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Err(reason) = Template::parse(&self.file_name_template) {
            let value = Some(self.file_name_template.as_str());
            errors.push(FieldError::invalid("file.name.template", value, reason));
        }
        let clock = !self.rotate_interval_ms.is_zero();
        if self.rotate_records == 0 && self.rotate_bytes == 0 && !clock {
            let text = "No file would ever be completed: set rotate.records, rotate.bytes or \
                        rotate.interval.ms above 0";
            errors.push(FieldError::other("rotate.records", text));
        }
        errors
    }
}
