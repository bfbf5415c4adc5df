//! Confluent's keys, with the exact defaults of its S3 sink; our own name `s3-sink` shares them.

mod plan;
mod unused;

use std::path::PathBuf;
use std::time::Duration;

use towpath_sdk::config::{ConfigEnum, ConnectorConfig, Secret};

pub use unused::Unused;

use super::{Bounds, ExactlyOnce, simple_name};
use crate::format::Decimals;

/// The defaults of our own name, where they differ from Confluent's.
pub const OUR_DEFAULTS: &[(&str, &str)] = &[
    ("storage.class", "io.confluent.connect.s3.storage.S3Storage"),
    ("format.class", "io.confluent.connect.s3.format.json.JsonFormat"),
    ("flush.size", "100000"),
    ("s3.region", ""),
    ("s3.part.size", "8388608"),
    ("filename.offset.zero.pad.width", "20"),
    ("path.format", "'year'=YYYY/'month'=MM/'day'=dd/'hour'=HH"),
    ("partition.duration.ms", "3600000"),
    ("locale", "en"),
    ("timezone", "UTC"),
    ("timestamp.extractor", "Record"),
];

/// Confluent's keys.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "Connector", validate = Config::check)]
pub struct Config {
    /// What objects contain: `JsonFormat` (a JSON document per line) or `ByteArrayFormat` (the bytes
    /// of values with a separator behind each), by simple or full class name.
    #[config(class, importance = high, validate = check_format)]
    pub format_class: String,
    /// How many records of a Kafka partition are written, over all of its open files, before these
    /// files are completed.
    #[config(importance = high, range(min = 1))]
    pub flush_size: i32,
    /// The span of record time that the open files may cover, in milliseconds: a record that is so
    /// much later than the first one, or belongs to another directory, completes them. It needs a
    /// time-based partitioner; -1 is off.
    #[config(default = -1, importance = high)]
    pub rotate_interval_ms: i64,
    /// Complete the open files at multiples of this after midnight in `timezone`, in milliseconds; -1
    /// is off. The clock decides then, so that records which are read again may be cut differently.
    #[config(default = -1)]
    pub rotate_schedule_interval_ms: i64,
    /// With `rotate.interval.ms`: whether a record for another directory completes the open files.
    /// Turn it off where late records would make many small files.
    #[config(default = true, importance = low)]
    pub rotate_file_on_partition_change: bool,
    /// The most files that a Kafka partition may have open; one more completes all of them. -1 is no
    /// bound.
    #[config(default = -1, importance = low)]
    pub partitioner_max_open_files: i32,
    /// The least number of digits of the offset in a file's name, so that names sort like offsets.
    #[config(default = 10, range(min = 0, max = 100), importance = low)]
    pub filename_offset_zero_pad_width: u32,
    /// How values may change within a file. Only `NONE` is known: JSON takes any value in any file.
    #[config(default = "NONE", one_of("NONE"), importance = low)]
    pub schema_compatibility: String,

    /// The bucket, which must exist.
    #[config(key = "s3.bucket.name", group = "S3", importance = high, non_empty)]
    pub bucket: String,
    /// The bucket's region. Empty takes the region of the worker's environment or AWS profile.
    #[config(key = "s3.region", group = "S3", default = "us-west-2", none = "")]
    pub region: Option<String>,
    /// The size of the parts of larger objects, in bytes. Objects up to this size are written in one
    /// request.
    #[config(
        key = "s3.part.size", group = "S3", default = 26_214_400, importance = high,
        range(min = 5_242_880)
    )]
    pub part_size: i32,
    /// Where credentials come from if no key is set. Only AWS's default chain is known (environment,
    /// profile, web identity, instance metadata).
    #[config(
        key = "s3.credentials.provider.class", group = "S3", class,
        default = "com.amazonaws.auth.DefaultAWSCredentialsProviderChain", importance = low,
        validate = check_provider
    )]
    pub credentials_provider: String,
    /// The id of the access key. Leave it and the secret out to use AWS's default chain.
    #[config(key = "aws.access.key.id", group = "S3", default = "", none = "", importance = high)]
    pub access_key_id: Option<String>,
    /// The secret of the access key.
    #[config(key = "aws.secret.access.key", group = "S3", importance = high)]
    pub secret_access_key: Option<Secret<String>>,
    /// The encryption that the store applies to objects.
    #[config(
        key = "s3.ssea.name", group = "S3", default = "", one_of("", "AES256", "aws:kms"),
        importance = low
    )]
    pub encryption: String,
    /// A key for encryption that the customer keeps. Not supported: use `s3.ssea.name`.
    #[config(
        key = "s3.sse.customer.key", group = "S3", importance = low,
        validate = refuse_customer_key
    )]
    pub customer_key: Option<Secret<String>>,
    /// The key for `s3.ssea.name=aws:kms`; empty is the account's default key.
    #[config(key = "s3.sse.kms.key.id", group = "S3", default = "", none = "", importance = low)]
    pub kms_key: Option<String>,
    /// The canned ACL of objects.
    #[config(
        key = "s3.acl.canned", group = "S3", importance = low,
        one_of(
            "private", "public-read", "public-read-write", "authenticated-read",
            "log-delivery-write", "bucket-owner-read", "bucket-owner-full-control",
            "aws-exec-read"
        ),
    )]
    pub acl: Option<String>,
    /// Whether to use AWS's accelerated endpoint.
    #[config(key = "s3.wan.mode", group = "S3", default = false)]
    pub accelerate: bool,
    /// How objects are compressed: `none`, `gzip` or (ours) `zstd`.
    #[config(key = "s3.compression.type", group = "S3", default = "none", importance = low)]
    pub compression: CompressionType,
    /// The compression's level: 0 to 9 for gzip, 1 to 22 for zstd; -1 is its own default.
    #[config(
        key = "s3.compression.level", group = "S3", default = -1, range(min = -1, max = 22),
        importance = low
    )]
    pub compression_level: i32,
    /// How decimals are written in JSON: `BASE64` of the unscaled number or `NUMERIC`.
    #[config(group = "S3", default = "BASE64")]
    pub json_decimal_format: Decimals,
    /// How often a failed request is tried again at once. After that the task waits, shows why, and
    /// goes on by itself.
    #[config(key = "s3.part.retries", group = "S3", default = 3, range(min = 0))]
    pub retries: u32,
    /// The pause before the first of these tries, in milliseconds; it doubles with each.
    #[config(key = "s3.retry.backoff.ms", group = "S3", default = 200, importance = low)]
    pub retry_backoff: Duration,
    /// The extension of `ByteArrayFormat`'s objects.
    #[config(group = "S3", default = ".bin", importance = low)]
    pub format_bytearray_extension: String,
    /// What `ByteArrayFormat` writes behind each value; `\n`, `\r`, `\t` and `\\` are understood. White
    /// space around it is not kept; an empty one is a line break.
    #[config(group = "S3", default = "\\n", importance = low)]
    pub format_bytearray_separator: String,
    /// Whether objects get the tags `startOffset`, `endOffset` and `recordCount`.
    #[config(key = "s3.object.tagging", group = "S3", default = false, importance = low)]
    pub tagging: bool,
    /// Further tags, as `key:value`, with `s3.object.tagging`.
    #[config(
        key = "s3.object.tagging.key.value.pairs", group = "S3", default = "", importance = low
    )]
    pub extra_tags: Vec<String>,
    /// Whether a failure to tag an object is waited out (`fail`) or logged (`ignore`).
    #[config(
        key = "s3.object.behavior.on.tagging.error", group = "S3", default = "ignore",
        importance = low
    )]
    pub on_tagging_error: IgnoreOrFail,
    /// A record without a value: `fail` gives it to `errors.tolerance`, `ignore` leaves it out.
    #[config(group = "S3", default = "fail", importance = low)]
    pub behavior_on_null_values: NullBehavior,
    /// With `behavior.on.null.values=fail`: whether such a record goes the way of `errors.tolerance`.
    /// Otherwise it fails the task.
    #[config(group = "S3", default = true, importance = low)]
    pub report_null_values_to_dlq: bool,
    /// Whether the store has the bucket in the path rather than in the host name.
    #[config(key = "s3.path.style.access.enabled", group = "S3", default = true, importance = low)]
    pub path_style: bool,
    /// Whether objects are completed on the condition that their name is free, where the store can.
    #[config(group = "S3", default = true, importance = low)]
    pub enable_conditional_writes: bool,
    /// How many names that others have taken are stepped over, for one object.
    #[config(group = "S3", default = 100, range(min = 1), importance = low)]
    pub max_files_scan_limit: u32,
    /// The URL of a proxy. Not supported yet.
    #[config(key = "s3.proxy.url", group = "S3", default = "", one_of(""), importance = low)]
    pub proxy_url: String,
    /// Whether to write keys into objects of their own. Not supported yet.
    #[config(group = "Keys and Headers", default = false, importance = low, validate = refuse_keys)]
    pub store_kafka_keys: bool,
    /// Whether to write headers into objects of their own. Not supported yet.
    #[config(group = "Keys and Headers", default = false, importance = low, validate = refuse_keys)]
    pub store_kafka_headers: bool,
    /// Whether the name of a value's schema is put into the path. Only `NONE` is known.
    #[config(
        key = "s3.schema.partition.affix.type", group = "S3", default = "NONE", one_of("NONE"),
        importance = low
    )]
    pub schema_affix: String,
    /// Whether bodies are sent with a digest. They carry a CRC-32C in any case, unless
    /// `s3.checksum=none` and this is off.
    #[config(key = "s3.send.digest", group = "S3", default = false, importance = low)]
    pub send_digest: bool,
    /// The checksum that the store checks bodies by; `none` is for stores that refuse it.
    #[config(key = "s3.checksum", group = "S3", default = "crc32c", importance = low)]
    pub checksum: Checksum,

    /// The storage. Only S3 is known.
    #[config(group = "Storage", class, importance = high, validate = check_storage)]
    pub storage_class: String,
    /// The directory above all topics; may be empty.
    #[config(group = "Storage", default = "topics", importance = high)]
    pub topics_dir: String,
    /// The endpoint's URL, for stores other than AWS.
    #[config(group = "Storage", importance = high, validate = check_url)]
    pub store_url: Option<String>,
    /// Between directories.
    #[config(group = "Storage", default = "/", non_empty)]
    pub directory_delim: String,
    /// Between the parts of a file's name.
    #[config(group = "Storage", default = "+")]
    pub file_delim: String,

    /// What decides about directories: `DefaultPartitioner`, `FieldPartitioner`,
    /// `TimeBasedPartitioner`, `DailyPartitioner`, `HourlyPartitioner`, or (ours)
    /// `FieldAndTimeBasedPartitioner`; by simple or full class name.
    #[config(
        group = "Partitioner", class,
        default = "io.confluent.connect.storage.partitioner.DefaultPartitioner", importance = high,
        dependents(
            "partition.field.name", "partition.duration.ms", "path.format", "locale", "timezone"
        ),
        validate = check_partitioner
    )]
    pub partitioner_class: String,
    /// The fields of the value whose `name=value` become directories, for the partitioners by field.
    #[config(group = "Partitioner", default = "")]
    pub partition_field_name: Vec<String>,
    /// How much time a directory spans, in milliseconds, for the time-based partitioner.
    #[config(group = "Partitioner", default = -1)]
    pub partition_duration_ms: i64,
    /// How the time-based partitioner writes the time: a pattern of Joda-Time.
    #[config(group = "Partitioner", default = "")]
    pub path_format: String,
    /// The language of names of months and days, for the time-based partitioners. Names are known in
    /// English only.
    #[config(group = "Partitioner", default = "")]
    pub locale: String,
    /// The zone of the time-based partitioners and of `rotate.schedule.interval.ms`.
    #[config(group = "Partitioner", default = "")]
    pub timezone: String,
    /// Where a record's time comes from, for the time-based partitioners: `Wallclock`, `Record` (its
    /// timestamp in Kafka) or `RecordField` (`timestamp.field`).
    #[config(group = "Partitioner", default = "Wallclock", validate = check_extractor)]
    pub timestamp_extractor: String,
    /// The field that tells the time: milliseconds since the epoch or an ISO 8601 text, in UTC where it
    /// has no offset; a dotted path for a nested one.
    #[config(group = "Partitioner", default = "timestamp", non_empty)]
    pub timestamp_field: String,

    /// Keys of ours.
    #[config(nested)]
    pub holding: Holding,
    /// Keys that have nothing to tune here.
    #[config(nested)]
    pub unused: Unused,
}

/// Keys of ours, in both dialects.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "Holding")]
pub struct Holding {
    /// Whether to refuse settings and stores under which a record could arrive twice: `preferred` or
    /// `required`.
    #[config(default = "preferred")]
    pub exactly_once: ExactlyOnce,
    /// Memory of a task for open and unsent objects, in bytes. What exceeds it goes to the spool.
    #[config(default = 50_331_648, range(min = 1_048_576))]
    pub buffer_max_bytes: u64,
    /// The directory in which a task spools what does not fit into memory; it must exist. Empty is the
    /// system's directory for temporary files.
    #[config(default = "", none = "")]
    pub spool_dir: Option<PathBuf>,
    /// The size of a task's spool, in bytes. When it is full, open files are completed early.
    #[config(default = 1_073_741_824, range(min = 1_048_576))]
    pub spool_max_bytes: u64,
}

impl Holding {
    /// The bounds.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds {
            memory: usize::try_from(self.buffer_max_bytes).unwrap_or(usize::MAX),
            spool_dir: self.spool_dir.clone().unwrap_or_else(std::env::temp_dir),
            spool: self.spool_max_bytes,
        }
    }
}

/// `s3.compression.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub enum CompressionType {
    /// Not compressed.
    None,
    /// `.gz`.
    Gzip,
    /// `.zst`. Confluent's sink does not have it.
    Zstd,
}

/// `s3.object.behavior.on.tagging.error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum IgnoreOrFail {
    /// Log it.
    Ignore,
    /// Wait until it works.
    Fail,
}

/// `behavior.on.null.values`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum NullBehavior {
    /// Leave the record out.
    Ignore,
    /// The record is refused.
    Fail,
    /// Write keys into a directory of their own. Not supported yet, since it needs
    /// `store.kafka.keys`.
    Write,
}

/// `s3.checksum`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub enum Checksum {
    /// CRC-32C.
    Crc32c,
    /// None.
    None,
}

/// What the partitioner's class means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Default,
    Field,
    Time,
    Daily,
    Hourly,
    FieldAndTime,
}

fn kind_of(class: &str) -> Option<Kind> {
    Some(match simple_name(class) {
        "DefaultPartitioner" | "default" => Kind::Default,
        "FieldPartitioner" | "field" => Kind::Field,
        "TimeBasedPartitioner" | "time" => Kind::Time,
        "DailyPartitioner" | "daily" => Kind::Daily,
        "HourlyPartitioner" | "hourly" => Kind::Hourly,
        "FieldAndTimeBasedPartitioner" | "field-time" => Kind::FieldAndTime,
        _ => return None,
    })
}

fn check_partitioner(class: &impl AsRef<str>) -> Result<(), String> {
    kind_of(class.as_ref()).map(drop).ok_or_else(|| {
        "Classes of one's own can't be loaded. Use DefaultPartitioner, FieldPartitioner, \
         TimeBasedPartitioner, DailyPartitioner, HourlyPartitioner or FieldAndTimeBasedPartitioner"
            .to_owned()
    })
}

fn check_format(class: &impl AsRef<str>) -> Result<(), String> {
    match simple_name(class.as_ref()) {
        "JsonFormat" | "ByteArrayFormat" => Ok(()),
        "AvroFormat" | "ParquetFormat" => {
            Err("This format is not supported yet. Use JsonFormat or ByteArrayFormat".to_owned())
        }
        _ => Err("Unknown format. Use JsonFormat or ByteArrayFormat".to_owned()),
    }
}

fn check_storage(class: &impl AsRef<str>) -> Result<(), String> {
    match simple_name(class.as_ref()) {
        "S3Storage" => Ok(()),
        _ => Err("The only storage is io.confluent.connect.s3.storage.S3Storage".to_owned()),
    }
}

fn check_provider(class: &impl AsRef<str>) -> Result<(), String> {
    match simple_name(class.as_ref()) {
        "DefaultAWSCredentialsProviderChain" | "DefaultCredentialsProvider" => Ok(()),
        _ => Err("Classes of one's own can't be loaded. Set aws.access.key.id and \
                  aws.secret.access.key, or leave this out to use AWS's default chain, which knows \
                  environment, profile (with roles), web identity and instance metadata"
            .to_owned()),
    }
}

fn check_extractor(extractor: &impl AsRef<str>) -> Result<(), String> {
    match extractor.as_ref() {
        "Wallclock" | "Record" | "RecordField" => Ok(()),
        _ => {
            Err("Classes of one's own can't be loaded. Use Wallclock, Record or RecordField".into())
        }
    }
}

pub(super) fn check_url(url: &impl AsRef<str>) -> Result<(), String> {
    match url.as_ref().split_once("://") {
        Some(("http" | "https", rest)) if !rest.is_empty() => Ok(()),
        _ => Err("Must be a URL such as http://store:9000 or https://store".to_owned()),
    }
}

fn refuse_customer_key(key: &Secret<String>) -> Result<(), String> {
    if key.expose().is_empty() {
        return Ok(());
    }
    Err("Encryption with a key of the customer is not supported. Use s3.ssea.name".to_owned())
}

fn refuse_keys(store: &bool) -> Result<(), String> {
    if *store {
        return Err("Keys and headers in objects of their own are not supported yet".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
