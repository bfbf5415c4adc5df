//! What Confluent's keys mean.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::types::{ObjectCannedAcl, ServerSideEncryption};
use towpath_sdk::config::FieldError;

use super::{Checksum, CompressionType, Config, IgnoreOrFail, Kind, NullBehavior, kind_of};
use crate::buffer::Compression;
use crate::client::{Connection, Credentials, ObjectOptions};
use crate::config::{Nulls, Plan, Tagging, check_guarantee, simple_name};
use crate::format::Format;
use crate::joda::{Pattern, Zone};
use crate::name::{Directories, OffsetStyle};
use crate::partitioner::{By, Partitioner, TimePath};
use crate::rotation::{Schedule, Settings};
use crate::timestamp::{Extractor, FieldPath};

/// The longest pause between tries of a request.
const MAX_BACKOFF: Duration = Duration::from_secs(20);

impl Config {
    pub(super) fn check(&self) -> Vec<FieldError> {
        self.plan().err().unwrap_or_default()
    }

    /// What the configuration means.
    ///
    /// # Errors
    /// With all that is wrong with the keys together.
    pub fn plan(&self) -> Result<Plan, Vec<FieldError>> {
        let mut errors = Vec::new();
        let (compression, extension) = (self.compression(&mut errors), self.extension());
        let extension = format!("{extension}{}", compression.extension());
        let partitioner = self.partitioner(extension, &mut errors);
        let rotation = self.rotation(&partitioner, &mut errors);
        let format = self.format();
        let nulls = self.nulls(&mut errors);
        let plan = Plan {
            connection: self.connection(&mut errors),
            objects: self.objects(&format, &mut errors),
            tagging: self.tags(&mut errors),
            part_size: usize::try_from(self.part_size).unwrap_or(usize::MAX),
            partitioner: Arc::new(partitioner),
            offsets: OffsetStyle {
                width: self.filename_offset_zero_pad_width as usize,
                delimiter: self.file_delim.clone(),
            },
            rotation,
            format,
            compression,
            nulls,
            conditional: self.enable_conditional_writes,
            max_steps: self.max_files_scan_limit,
            exactly_once: self.holding.exactly_once,
            bounds: self.holding.bounds(),
        };
        check_guarantee(&plan, &mut errors);
        if errors.is_empty() { Ok(plan) } else { Err(errors) }
    }

    fn is_json(&self) -> bool {
        simple_name(&self.format_class) == "JsonFormat"
    }

    fn extension(&self) -> &str {
        if self.is_json() { ".json" } else { &self.format_bytearray_extension }
    }

    fn format(&self) -> Format {
        if self.is_json() {
            return Format::JsonLines { decimals: self.json_decimal_format };
        }
        let mut separator = String::new();
        let mut chars = self.format_bytearray_separator.chars();
        while let Some(c) = chars.next() {
            match (c, chars.as_str().chars().next()) {
                ('\\', Some(escaped @ ('n' | 'r' | 't' | '\\'))) => {
                    chars.next();
                    separator.push(match escaped {
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        _ => '\\',
                    });
                }
                (c, _) => separator.push(c),
            }
        }
        if separator.is_empty() {
            separator.push('\n');
        }
        Format::Raw { separator }
    }

    fn compression(&self, errors: &mut Vec<FieldError>) -> Compression {
        let level = Some(self.compression_level).filter(|level| *level >= 0);
        match self.compression {
            CompressionType::None => Compression::None,
            CompressionType::Gzip => {
                let level = level.and_then(|level| u32::try_from(level).ok());
                if let Some(wrong) = level.filter(|level| *level > 9) {
                    let reason = "The levels of gzip are 0 to 9";
                    let value = wrong.to_string();
                    errors.push(FieldError::invalid("s3.compression.level", Some(&value), reason));
                }
                Compression::Gzip(level)
            }
            CompressionType::Zstd => Compression::Zstd(level.filter(|level| *level > 0)),
        }
    }

    fn connection(&self, errors: &mut Vec<FieldError>) -> Connection {
        let secret = self.secret_access_key.clone().filter(|s| !s.expose().is_empty());
        let credentials = match (&self.access_key_id, secret) {
            (Some(id), Some(secret)) => Credentials::Keys { id: id.clone(), secret },
            (None, None) => Credentials::Chain,
            (id, _) => {
                let message = "aws.access.key.id and aws.secret.access.key go together: set both or \
                               none";
                let key = if id.is_some() { "aws.secret.access.key" } else { "aws.access.key.id" };
                errors.push(FieldError::other(key, message));
                Credentials::Chain
            }
        };
        if self.accelerate && (self.path_style && self.store_url.is_some()) {
            let message = "s3.wan.mode is AWS's and can't be used with store.url";
            errors.push(FieldError::other("s3.wan.mode", message));
        }
        Connection {
            bucket: self.bucket.clone(),
            region: self.region.clone(),
            endpoint: self.store_url.clone(),
            // The accelerated endpoint has the bucket in its host name.
            path_style: self.path_style && !self.accelerate,
            accelerate: self.accelerate,
            credentials,
            role: None,
            retries: self.retries,
            backoff: self.retry_backoff,
            max_backoff: MAX_BACKOFF,
            http: None,
        }
    }

    fn objects(&self, format: &Format, errors: &mut Vec<FieldError>) -> ObjectOptions {
        let kms = self.encryption == "aws:kms";
        if self.kms_key.is_some() && !kms {
            let message = "s3.sse.kms.key.id needs s3.ssea.name=aws:kms";
            errors.push(FieldError::other("s3.sse.kms.key.id", message));
        }
        ObjectOptions {
            acl: self.acl.as_deref().map(ObjectCannedAcl::from),
            encryption: Some(&*self.encryption)
                .filter(|name| !name.is_empty())
                .map(ServerSideEncryption::from),
            kms_key: self.kms_key.clone(),
            crc32c: self.checksum == Checksum::Crc32c || self.send_digest,
            content_type: format.content_type(),
        }
    }

    fn tags(&self, errors: &mut Vec<FieldError>) -> Option<Tagging> {
        let mut extra = Vec::new();
        for pair in self.extra_tags.iter().filter(|pair| !pair.is_empty()) {
            match pair.split_once(':') {
                Some((key, value)) => extra.push((key.to_owned(), value.to_owned())),
                None => errors.push(FieldError::invalid(
                    "s3.object.tagging.key.value.pairs",
                    Some(pair),
                    "Must be key:value",
                )),
            }
        }
        let required = self.on_tagging_error == IgnoreOrFail::Fail;
        self.tagging.then_some(Tagging { extra, required })
    }

    fn nulls(&self, errors: &mut Vec<FieldError>) -> Nulls {
        match self.behavior_on_null_values {
            NullBehavior::Ignore => Nulls::Ignore,
            NullBehavior::Fail if self.report_null_values_to_dlq => Nulls::Reject,
            NullBehavior::Fail => Nulls::Fail,
            NullBehavior::Write => {
                let reason = "Writing tombstones needs store.kafka.keys, which is not supported yet. \
                              Use ignore or fail";
                errors.push(FieldError::invalid("behavior.on.null.values", Some("write"), reason));
                Nulls::Reject
            }
        }
    }

    fn partitioner(&self, extension: String, errors: &mut Vec<FieldError>) -> Partitioner {
        let kind = kind_of(&self.partitioner_class).unwrap_or(Kind::Default);
        let fields = match kind {
            Kind::Field | Kind::FieldAndTime => self.fields(errors),
            _ => Vec::new(),
        };
        let time = match kind {
            Kind::Default | Kind::Field => None,
            Kind::Time | Kind::FieldAndTime => {
                if self.partition_duration_ms <= 0 {
                    let value = self.partition_duration_ms.to_string();
                    let reason = "Partition duration needs to be a positive.";
                    errors.push(FieldError::invalid("partition.duration.ms", Some(&value), reason));
                }
                self.time_path(&self.path_format, self.partition_duration_ms, errors)
            }
            Kind::Daily => self.time_path(&self.parts_of_date(false), 86_400_000, errors),
            Kind::Hourly => self.time_path(&self.parts_of_date(true), 3_600_000, errors),
        };
        let extractor =
            matches!(kind, Kind::Time | Kind::FieldAndTime | Kind::Daily | Kind::Hourly).then(
                || match &*self.timestamp_extractor {
                    "Record" => Extractor::Record,
                    "RecordField" => Extractor::Field(FieldPath::new(&self.timestamp_field)),
                    _ => Extractor::Wallclock,
                },
            );
        let layout = Directories {
            top: self.topics_dir.clone(),
            delimiter: self.directory_delim.clone(),
            file_delimiter: self.file_delim.clone(),
            extension,
        };
        Partitioner { by: By::Directory { layout, fields, time }, extractor }
    }

    fn fields(&self, errors: &mut Vec<FieldError>) -> Vec<FieldPath> {
        let fields: Vec<_> = self
            .partition_field_name
            .iter()
            .filter(|f| !f.is_empty())
            .map(|f| FieldPath::new(f))
            .collect();
        if fields.is_empty() {
            let reason = "The partitioner needs the name of a field";
            errors.push(FieldError::invalid("partition.field.name", Some(""), reason));
        }
        fields
    }

    fn parts_of_date(&self, hour: bool) -> String {
        let mut parts = vec!["'year'=YYYY", "'month'=MM", "'day'=dd"];
        if hour {
            parts.push("'hour'=HH");
        }
        parts.join(&self.directory_delim)
    }

    fn time_path(
        &self,
        pattern: &str,
        duration_ms: i64,
        errors: &mut Vec<FieldError>,
    ) -> Option<TimePath> {
        let mut refuse = |key: &str, value: &str, reason: String| {
            errors.push(FieldError::invalid(key, Some(value), reason));
        };
        let path_format = pattern;
        let pattern = pattern.strip_suffix(&*self.directory_delim).unwrap_or(pattern);
        let pattern = match Pattern::new(pattern) {
            _ if pattern.trim().is_empty() => {
                refuse("path.format", path_format, "Path format cannot be empty.".to_owned());
                None
            }
            Ok(pattern) => Some(pattern),
            Err(reason) => {
                refuse("path.format", path_format, reason);
                None
            }
        };
        let english =
            self.locale.split(['-', '_']).next().is_some_and(|l| l.eq_ignore_ascii_case("en"));
        if self.locale.trim().is_empty() {
            refuse("locale", &self.locale, "Locale cannot be empty.".to_owned());
        } else if !english && pattern.as_ref().is_some_and(Pattern::has_words) {
            let reason = "Names of months, days and zones are known in English only. Use numbers in \
                          path.format, or the locale en";
            refuse("locale", &self.locale, reason.to_owned());
        }
        if self.timezone.trim().is_empty() {
            refuse("timezone", &self.timezone, "Timezone cannot be empty.".to_owned());
            return None;
        }
        match Zone::for_id(&self.timezone) {
            Ok(zone) => Some(TimePath { duration_ms: duration_ms.max(1), pattern: pattern?, zone }),
            Err(reason) => {
                refuse("timezone", &self.timezone, reason);
                None
            }
        }
    }

    fn rotation(&self, partitioner: &Partitioner, errors: &mut Vec<FieldError>) -> Settings {
        let timed = partitioner.extractor.is_some();
        let interval_ms = Some(self.rotate_interval_ms).filter(|ms| *ms > 0);
        if interval_ms.is_some() && !timed {
            tracing::warn!(
                "rotate.interval.ms has no effect without a time-based partitioner, as in Confluent's \
                 sink; rotate.schedule.interval.ms works with every partitioner"
            );
        }
        let mut schedule = None;
        if self.rotate_schedule_interval_ms > 0 {
            match Zone::for_id(&self.timezone) {
                Ok(zone) => {
                    let interval_ms = self.rotate_schedule_interval_ms;
                    schedule = Some(Schedule { interval_ms, zone });
                }
                Err(_) if self.timezone.is_empty() => errors.push(FieldError::other(
                    "timezone",
                    "timezone configuration must be set when using rotate.schedule.interval.ms",
                )),
                // A wrong zone was reported with the partitioner, if that needs one.
                Err(reason) if !timed => {
                    errors.push(FieldError::invalid("timezone", Some(&self.timezone), reason));
                }
                Err(_) => {}
            }
        }
        Settings {
            flush_size: u64::try_from(self.flush_size).ok(),
            file_records: None,
            interval_ms: interval_ms.filter(|_| timed),
            interval_by_clock: partitioner.extractor == Some(Extractor::Wallclock),
            on_path_change: self.rotate_file_on_partition_change,
            schedule,
            age_ms: None,
            max_open: usize::try_from(self.partitioner_max_open_files).ok().filter(|n| *n > 0),
        }
    }
}
