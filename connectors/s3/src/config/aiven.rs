//! Aiven's keys, with the exact defaults of its S3 sink, old spellings included.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::types::ServerSideEncryption;
use towpath_sdk::config::{ConfigEnum, ConnectorConfig, FieldError, Secret};

use super::confluent::{Checksum, Holding, check_url};
use super::{Nulls, Plan, check_guarantee, simple_name};
use crate::buffer::Compression;
use crate::client::{Connection, Credentials, ObjectOptions, Role};
use crate::format::{Envelope, Format, OutputField};
use crate::joda::Zone;
use crate::name::{OffsetStyle, Template};
use crate::partitioner::{By, Partitioner};
use crate::rotation::Settings;
use crate::timestamp::Extractor;

/// The name of objects under `aws.s3.prefix`.
const OLD_NAME: &str = "{{topic}}-{{partition}}-{{start_offset:padding=true}}";
const DEFAULT_NAME: &str = "{{topic}}-{{partition}}-{{start_offset}}";
const STS: &str = "https://sts.amazonaws.com";

/// Aiven's keys.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "AWS", validate = Config::check)]
pub struct Config {
    /// The id of the access key. Leave it and the secret out to use AWS's default chain.
    #[config(key = "aws.access.key.id", alias("aws_access_key_id"))]
    pub access_key_id: Option<Secret<String>>,
    /// The secret of the access key.
    #[config(key = "aws.secret.access.key", alias("aws_secret_access_key"))]
    pub secret_access_key: Option<Secret<String>>,
    /// Where credentials come from if no key is set. Only AWS's default chain is known.
    #[config(
        key = "aws.credentials.provider", alias("aws.credential.provider"), class,
        validate = check_provider
    )]
    pub credentials_provider: Option<String>,
    /// The bucket, which must exist.
    #[config(key = "aws.s3.bucket.name", alias("aws_s3_bucket"), non_empty)]
    pub bucket: String,
    /// The encryption that the store applies to objects: `AES256` or `aws:kms`.
    #[config(key = "aws.s3.sse.algorithm", one_of("AES256", "aws:kms"))]
    pub encryption: Option<String>,
    /// The endpoint's URL, for stores other than AWS. The bucket is in the path then.
    #[config(
        key = "aws.s3.endpoint", alias("aws_s3_endpoint"), importance = low, validate = check_url
    )]
    pub endpoint: Option<String>,
    /// The bucket's region.
    #[config(key = "aws.s3.region", alias("aws_s3_region"), default = "us-east-1")]
    pub region: String,
    /// The size of the parts of larger objects, in bytes; S3 takes at least 5 MiB. Objects up to this
    /// size are written in one request.
    #[config(
        key = "aws.s3.part.size.bytes",
        default = 5_242_880,
        range(min = 5_242_880, max = 2_000_000_000)
    )]
    pub part_size: u32,
    /// In front of `{{topic}}-{{partition}}-{{start_offset:padding=true}}`; may contain variables.
    #[config(
        key = "aws.s3.prefix",
        alias("aws_s3_prefix"),
        non_empty,
        deprecated = "use file.name.template"
    )]
    pub prefix: Option<String>,
    /// The role to assume.
    #[config(key = "aws.sts.role.arn", group = "AWS STS", non_empty)]
    pub role_arn: Option<String>,
    /// The external id to assume the role with.
    #[config(key = "aws.sts.role.external.id", group = "AWS STS", non_empty)]
    pub role_external_id: Option<String>,
    /// The name of the session under the role.
    #[config(key = "aws.sts.role.session.name", group = "AWS STS", non_empty)]
    pub role_session_name: Option<String>,
    /// How long a session lasts, in seconds.
    #[config(
        key = "aws.sts.role.session.duration",
        group = "AWS STS",
        default = 3600,
        range(min = 900, max = 43_200)
    )]
    pub role_session_duration: u32,
    /// The endpoint of AWS's token service. Another one than the global is not supported yet.
    #[config(
        key = "aws.sts.config.endpoint", group = "AWS STS", default = STS,
        one_of("https://sts.amazonaws.com")
    )]
    pub sts_endpoint: String,
    /// The pause before a failed request is tried again, in milliseconds; it doubles with each try.
    #[config(
        key = "aws.s3.backoff.delay.ms",
        group = "S3 retry backoff policy",
        default = 100,
        range(min = 1)
    )]
    pub backoff: Duration,
    /// The longest of these pauses, in milliseconds.
    #[config(
        key = "aws.s3.backoff.max.delay.ms",
        group = "S3 retry backoff policy",
        default = 20_000,
        range(min = 1)
    )]
    pub max_backoff: Duration,
    /// How often a failed request is tried again at once. After that the task waits, shows why, and
    /// goes on by itself.
    #[config(
        key = "aws.s3.backoff.max.retries",
        group = "S3 retry backoff policy",
        default = 3,
        range(min = 1, max = 30)
    )]
    pub retries: u32,

    /// The names of objects. Variables: `topic`, `partition` and `start_offset` (each with
    /// `:padding=true`), `timestamp:unit=` `yyyy`, `MM`, `dd` or `HH`, and `key`. The first three must
    /// be there. If absent, `{{topic}}-{{partition}}-{{start_offset}}` and the compression's extension.
    #[config(group = "File")]
    pub file_name_template: Option<String>,
    /// How objects are compressed: `gzip` (if absent), `zstd` or `none`.
    #[config(group = "File", alias("output_compression"))]
    pub file_compression_type: Option<CompressionType>,
    /// The most records of an object; 0 is no bound.
    #[config(group = "File", default = 0, range(min = 0))]
    pub file_max_records: u32,
    /// The zone of `timestamp` in names.
    #[config(group = "File", default = "Z", alias("timestamp.timezone"), importance = low)]
    pub file_name_timestamp_timezone: String,
    /// What `timestamp` in names is: `wallclock`, or `event` (the record's timestamp).
    #[config(group = "File", default = "WALLCLOCK", alias("timestamp.source"), importance = low)]
    pub file_name_timestamp_source: TimestampSource,
    /// How long after its first record the open objects are completed, in milliseconds, however few
    /// records they have (ours; Aiven's sink completes them whenever the worker commits offsets, which
    /// is once a minute). 0 leaves it to `file.max.records`, whose bounds do not depend on the clock.
    #[config(group = "File", default = 60_000)]
    pub file_flush_interval_ms: Duration,

    /// What objects contain: `jsonl` (a JSON document per line) or `json` (one array).
    #[config(group = "Format", default = "csv")]
    pub format_output_type: OutputType,
    /// Which parts of records: `key`, `value`, `offset`, `timestamp`, `headers`.
    #[config(
        group = "Format",
        default = "value",
        alias("output_fields"),
        one_of("key", "value", "offset", "timestamp", "headers"),
        non_empty
    )]
    pub format_output_fields: Vec<String>,
    /// Whether a single part stands in an object of its own: `{"value":…}`.
    #[config(group = "Format", default = true)]
    pub format_output_envelope: bool,
    /// How values are encoded in CSV. JSON needs no encoding, here as in Aiven's sink.
    #[config(
        group = "Format",
        one_of("base64", "none"),
        deprecated = "leave it out: only csv encodes values, which is not supported yet"
    )]
    pub format_output_fields_value_encoding: Option<String>,
    /// Aiven's sink: the pause before a failed batch is delivered again, in milliseconds.
    #[config(
        importance = low,
        deprecated = "leave it out: pauses grow from 100 ms to 60 s by themselves, and the status shows them"
    )]
    pub kafka_retry_backoff_ms: Option<i64>,
    /// The checksum that the store checks bodies by; `none` is for stores that refuse it (ours).
    #[config(key = "s3.checksum", default = "crc32c", importance = low)]
    pub checksum: Checksum,

    /// Keys of ours.
    #[config(nested)]
    pub holding: Holding,
}

/// `file.compression.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum CompressionType {
    /// Not compressed.
    None,
    /// `.gz`.
    Gzip,
    /// `.zst`.
    Zstd,
    /// Not supported.
    Snappy,
}

/// `file.name.timestamp.source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum TimestampSource {
    /// The clock when the record is written.
    Wallclock,
    /// The record's timestamp.
    Event,
}

/// `format.output.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum OutputType {
    /// Not supported yet.
    Csv,
    /// A JSON document per line.
    Jsonl,
    /// A JSON array.
    Json,
    /// Not supported yet.
    Avro,
    /// Not supported yet.
    Parquet,
}

fn check_provider(class: &impl AsRef<str>) -> Result<(), String> {
    match simple_name(class.as_ref()) {
        "DefaultAWSCredentialsProviderChain" | "DefaultCredentialsProvider" => Ok(()),
        _ => Err("Classes of one's own can't be loaded. Set aws.access.key.id and \
                  aws.secret.access.key or aws.sts.role.arn, or leave this out to use AWS's default \
                  chain"
            .to_owned()),
    }
}

impl Config {
    fn check(&self) -> Vec<FieldError> {
        self.plan().err().unwrap_or_default()
    }

    /// What the configuration means.
    ///
    /// # Errors
    /// With all that is wrong with the keys together.
    pub fn plan(&self) -> Result<Plan, Vec<FieldError>> {
        let mut errors = Vec::new();
        let compression = self.compression(&mut errors);
        let partitioner = self.partitioner(compression, &mut errors);
        let format = self.format(&mut errors);
        let plan = Plan {
            connection: self.connection(&mut errors),
            objects: ObjectOptions {
                encryption: self.encryption.as_deref().map(ServerSideEncryption::from),
                crc32c: self.checksum == Checksum::Crc32c,
                content_type: format.content_type(),
                ..ObjectOptions::default()
            },
            tagging: None,
            part_size: self.part_size as usize,
            partitioner: Arc::new(partitioner),
            offsets: OffsetStyle { width: 0, delimiter: "-".to_owned() },
            rotation: Settings {
                file_records: Some(u64::from(self.file_max_records)).filter(|n| *n > 0),
                age_ms: i64::try_from(self.file_flush_interval_ms.as_millis())
                    .ok()
                    .filter(|ms| *ms > 0),
                ..Settings::default()
            },
            format,
            compression,
            nulls: Nulls::Write,
            conditional: true,
            max_steps: 100,
            exactly_once: self.holding.exactly_once,
            bounds: self.holding.bounds(),
        };
        if plan.rotation.file_records.is_none() && plan.rotation.age_ms.is_none() {
            let message = "with file.flush.interval.ms=0, objects are only completed by \
                           file.max.records: set it";
            errors.push(FieldError::other("file.max.records", message));
        }
        check_guarantee(&plan, &mut errors);
        if errors.is_empty() { Ok(plan) } else { Err(errors) }
    }

    fn compression(&self, errors: &mut Vec<FieldError>) -> Compression {
        match self.file_compression_type {
            None | Some(CompressionType::Gzip) => Compression::Gzip(None),
            Some(CompressionType::None) => Compression::None,
            Some(CompressionType::Zstd) => Compression::Zstd(None),
            Some(CompressionType::Snappy) => {
                let reason = "Snappy is not supported. Use gzip, zstd or none";
                errors.push(FieldError::invalid("file.compression.type", Some("snappy"), reason));
                Compression::None
            }
        }
    }

    fn format(&self, errors: &mut Vec<FieldError>) -> Format {
        let kind = self.format_output_type;
        if !matches!(kind, OutputType::Jsonl | OutputType::Json) {
            let reason = "This format is not supported yet. Use jsonl or json";
            let value = kind.to_string();
            errors.push(FieldError::invalid("format.output.type", Some(&value), reason));
        }
        let fields: Vec<OutputField> = self
            .format_output_fields
            .iter()
            .filter_map(|field| towpath_sdk::config::ConfigValue::parse_value(field).ok())
            .collect();
        if !self.format_output_envelope && fields.len() != 1 {
            errors.push(FieldError::other(
                "format.output.envelope",
                "When format.output.envelope is false, format.output.fields must contain only one field",
            ));
        }
        Format::Envelope(Envelope {
            fields,
            wrapped: self.format_output_envelope,
            array: kind == OutputType::Json,
        })
    }

    fn partitioner(&self, compression: Compression, errors: &mut Vec<FieldError>) -> Partitioner {
        let extension = compression.extension();
        let (key, text) = match (&self.file_name_template, &self.prefix) {
            (Some(template), None) => ("file.name.template", template.clone()),
            (None, None) => ("file.name.template", format!("{DEFAULT_NAME}{extension}")),
            (None, Some(prefix)) => ("aws.s3.prefix", format!("{prefix}{OLD_NAME}{extension}")),
            (Some(template), Some(_)) => {
                let message = "aws.s3.prefix and file.name.template can't be used together: put the \
                               prefix into the template";
                errors.push(FieldError::other("aws.s3.prefix", message));
                ("file.name.template", template.clone())
            }
        };
        let template = Template::new(&text).and_then(|template| {
            template.check()?;
            Ok(template)
        });
        let template = template.unwrap_or_else(|reason| {
            errors.push(FieldError::invalid(key, Some(&text), reason));
            Template::default()
        });
        let id = match &*self.file_name_timestamp_timezone {
            "Z" => "UTC",
            id => id,
        };
        let zone = Zone::for_id(id).unwrap_or_else(|reason| {
            errors.push(FieldError::invalid("file.name.timestamp.timezone", Some(id), reason));
            Zone::UTC
        });
        let extractor = template.uses_time().then_some(match self.file_name_timestamp_source {
            TimestampSource::Wallclock => Extractor::Wallclock,
            TimestampSource::Event => Extractor::Record,
        });
        Partitioner { by: By::Template { template, zone }, extractor }
    }

    fn connection(&self, errors: &mut Vec<FieldError>) -> Connection {
        let given = |secret: &Option<Secret<String>>| {
            secret.clone().filter(|secret| !secret.expose().is_empty())
        };
        let credentials = match (given(&self.access_key_id), given(&self.secret_access_key)) {
            (Some(id), Some(secret)) => Credentials::Keys { id: id.expose().clone(), secret },
            (None, None) => Credentials::Chain,
            (id, _) => {
                let key = if id.is_some() { "aws.secret.access.key" } else { "aws.access.key.id" };
                let message =
                    "aws.access.key.id and aws.secret.access.key go together: set both or none";
                errors.push(FieldError::other(key, message));
                Credentials::Chain
            }
        };
        if self.role_arn.is_none()
            && (self.role_external_id.is_some() || self.role_session_name.is_some())
        {
            let message =
                "aws.sts.role.external.id and aws.sts.role.session.name need aws.sts.role.arn";
            errors.push(FieldError::other("aws.sts.role.arn", message));
        }
        let role = self.role_arn.as_ref().map(|arn| Role {
            arn: arn.clone(),
            external_id: self.role_external_id.clone(),
            session_name: self.role_session_name.clone(),
            duration: Duration::from_secs(u64::from(self.role_session_duration)),
        });
        Connection {
            bucket: self.bucket.clone(),
            region: Some(self.region.clone()),
            endpoint: self.endpoint.clone(),
            path_style: self.endpoint.is_some(),
            accelerate: false,
            credentials,
            role,
            retries: self.retries,
            backoff: self.backoff,
            max_backoff: self.max_backoff,
            http: None,
        }
    }
}

#[cfg(test)]
mod tests;
