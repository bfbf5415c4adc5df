use std::path::PathBuf;

use aws_sdk_s3::types::{ObjectCannedAcl, ServerSideEncryption};
use towpath_sdk::config::{FieldErrors, Properties, testing};
use towpath_sdk::guarantee::Delivery;

use super::*;
use crate::buffer::Compression;
use crate::client::Credentials;
use crate::config::{Nulls, Plan, Tagging};
use crate::format::Format;
use crate::joda::Zone;
use crate::name::Directories;
use crate::partitioner::{By, TimePath};
use crate::rotation::{Schedule, Settings};
use crate::timestamp::{Extractor, FieldPath};

/// What a person needs to set under Confluent's name.
const LEAST: [(&str, &str); 4] = [
    ("storage.class", "io.confluent.connect.s3.storage.S3Storage"),
    ("format.class", "io.confluent.connect.s3.format.json.JsonFormat"),
    ("flush.size", "3"),
    ("s3.bucket.name", "b"),
];

fn parse(entries: &[(&str, &str)]) -> Result<Plan, FieldErrors> {
    let properties = LEAST.iter().chain(entries).copied().collect::<Properties>();
    Config::parse(&properties).map(|config| config.plan().unwrap())
}

fn plan(entries: &[(&str, &str)]) -> Plan {
    parse(entries).unwrap_or_else(|errors| panic!("{errors}"))
}

#[track_caller]
fn refused(entries: &[(&str, &str)], key: &str, text: &str) {
    let errors = parse(entries).map(drop).unwrap_err();
    let lines: Vec<_> = errors.of(key).map(ToString::to_string).collect();
    assert!(lines.iter().any(|line| line.contains(text)), "{errors}");
}

const TIMED: [(&str, &str); 5] = [
    ("partitioner.class", "TimeBasedPartitioner"),
    ("partition.duration.ms", "60000"),
    ("path.format", "yyyy/MM/dd/HH/mm"),
    ("locale", "fr"),
    ("timezone", "Europe/Paris"),
];

fn timed(entries: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let mut all: Vec<(&'static str, String)> =
        TIMED.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    for (key, value) in entries {
        match all.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = (*value).to_owned(),
            None => all.push((key.to_owned().to_string().leak(), (*value).to_owned())),
        }
    }
    all
}

fn timed_plan(entries: &[(&str, &str)]) -> Plan {
    let all = timed(entries);
    plan(&all.iter().map(|(k, v)| (*k, &**v)).collect::<Vec<_>>())
}

#[track_caller]
fn timed_refused(entries: &[(&str, &str)], key: &str, text: &str) {
    let all = timed(entries);
    refused(&all.iter().map(|(k, v)| (*k, &**v)).collect::<Vec<_>>(), key, text);
}

fn time_of(plan: &Plan) -> (&TimePath, &[FieldPath]) {
    match &plan.partitioner.by {
        By::Directory { time: Some(time), fields, .. } => (time, fields),
        other => panic!("{other:?}"),
    }
}

fn layout(plan: &Plan) -> &Directories {
    match &plan.partitioner.by {
        By::Directory { layout, .. } => layout,
        By::Template { .. } => panic!("a template"),
    }
}

#[test]
fn confluents_defaults() {
    let plan = plan(&[]);
    let connection = &plan.connection;
    assert_eq!((connection.region.as_deref(), connection.path_style), (Some("us-west-2"), true));
    assert_eq!((connection.retries, connection.backoff), (3, Duration::from_millis(200)));
    assert!(matches!(connection.credentials, Credentials::Chain) && connection.endpoint.is_none());
    assert_eq!((plan.part_size, plan.offsets.width), (26_214_400, 10));
    assert_eq!(plan.nulls, Nulls::Reject);
    assert_eq!(plan.compression, Compression::None);
    assert_eq!(layout(&plan).path("t", 1, "d").replace('\0', "@"), "topics/t/d/t+1+@.json");
    assert_eq!((plan.conditional, plan.max_steps, &plan.tagging), (true, 100, &None));
    let rotation = Settings { flush_size: Some(3), on_path_change: true, ..Settings::default() };
    assert_eq!(plan.rotation, rotation);
    assert_eq!(plan.guarantee().delivery, Delivery::ExactlyOnce);
}

#[test]
fn our_defaults_need_a_bucket_only() {
    let mut properties = Properties::from([("s3.bucket.name", "b"), ("partitioner.class", "time")]);
    Config::definition().fill(&mut properties, OUR_DEFAULTS);
    let plan = Config::parse(&properties).unwrap().plan().unwrap();
    assert_eq!((plan.connection.region.as_deref(), plan.part_size), (None, 8 << 20));
    assert_eq!((plan.offsets.width, plan.rotation.flush_size), (20, Some(100_000)));
    assert_eq!(plan.partitioner.extractor, Some(Extractor::Record));
    assert_eq!(plan.guarantee().delivery, Delivery::ExactlyOnce);
}

#[test]
fn formats() {
    let raw = |separator: &str| {
        let format =
            [("format.class", "ByteArrayFormat"), ("format.bytearray.separator", separator)];
        match plan(&format).format {
            Format::Raw { separator } => separator,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([raw("\n"), raw("\\r\\n"), raw("a\\\\t\\x;")], ["\n", "\r\n", "a\\t\\x;"]);
    let plan = plan(&[("format.class", "ByteArrayFormat"), ("format.bytearray.extension", ".txt")]);
    assert_eq!(layout(&plan).extension, ".txt");
    refused(
        &[("format.class", "io.confluent.connect.s3.format.avro.AvroFormat")],
        "format.class",
        "not supported yet",
    );
    refused(&[("format.class", "com.example.Mine")], "format.class", "Unknown format");
    refused(&[("storage.class", "HdfsStorage")], "storage.class", "The only storage is");
    refused(&[("schema.compatibility", "FULL")], "schema.compatibility", "must be one of: NONE");
}

#[test]
fn decimals() {
    let plan = plan(&[("json.decimal.format", "numeric")]);
    assert_eq!(plan.format, Format::JsonLines { decimals: Decimals::Numeric });
}

#[test]
fn connections() {
    let connection = plan(&[
        ("s3.region", "eu-west-1"),
        ("store.url", "http://store:9000"),
        ("aws.access.key.id", "id"),
        ("aws.secret.access.key", "fake"),
        ("s3.part.retries", "0"),
        ("s3.retry.backoff.ms", "7"),
        ("s3.path.style.access.enabled", "false"),
    ])
    .connection;
    assert_eq!(connection.region.as_deref(), Some("eu-west-1"));
    assert_eq!(connection.endpoint.as_deref(), Some("http://store:9000"));
    assert_eq!((connection.retries, connection.backoff), (0, Duration::from_millis(7)));
    assert!(!connection.path_style);
    assert!(matches!(connection.credentials, Credentials::Keys { id, .. } if id == "id"));
    let fast = plan(&[("s3.wan.mode", "true")]).connection;
    assert_eq!((fast.accelerate, fast.path_style), (true, false));
    refused(&[("aws.access.key.id", "id")], "aws.secret.access.key", "go together");
    refused(&[("store.url", "store:9000")], "store.url", "Must be a URL");
    refused(&[("s3.wan.mode", "true"), ("store.url", "http://s")], "s3.wan.mode", "can't be used");
    refused(
        &[("s3.credentials.provider.class", "com.example.Mine")],
        "s3.credentials.provider.class",
        "can't be loaded",
    );
    refused(&[("s3.proxy.url", "http://p")], "s3.proxy.url", "must be one of");
    refused(&[("s3.bucket.name", "")], "s3.bucket.name", "non-empty");
}

#[test]
fn object_options() {
    let plan = plan(&[
        ("s3.part.size", "5242880"),
        ("s3.ssea.name", "aws:kms"),
        ("s3.sse.kms.key.id", "k"),
        ("s3.acl.canned", "bucket-owner-full-control"),
        ("s3.checksum", "none"),
        ("s3.object.tagging", "true"),
        ("s3.object.tagging.key.value.pairs", "a:b, c:d"),
        ("s3.object.behavior.on.tagging.error", "FAIL"),
    ]);
    assert_eq!(plan.part_size, 5_242_880);
    assert_eq!(plan.objects.encryption, Some(ServerSideEncryption::AwsKms));
    assert_eq!(plan.objects.kms_key.as_deref(), Some("k"));
    assert_eq!(plan.objects.acl, Some(ObjectCannedAcl::BucketOwnerFullControl));
    assert!(!plan.objects.crc32c);
    let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    let extra = vec![pair("a", "b"), pair("c", "d")];
    assert_eq!(plan.tagging, Some(Tagging { extra, required: true }));
    assert!(
        super::tests::plan(&[("s3.checksum", "none"), ("s3.send.digest", "true")]).objects.crc32c
    );
    refused(&[("s3.part.size", "5242879")], "s3.part.size", "at least 5242880");
    refused(&[("s3.sse.kms.key.id", "k")], "s3.sse.kms.key.id", "needs s3.ssea.name");
    refused(&[("s3.sse.customer.key", "fake")], "s3.sse.customer.key", "not supported");
    refused(
        &[("s3.object.tagging.key.value.pairs", "a")],
        "s3.object.tagging.key.value.pairs",
        "key:value",
    );
}

#[test]
fn compressions() {
    let compression = |kind: &str, level: &str| {
        plan(&[("s3.compression.type", kind), ("s3.compression.level", level)]).compression
    };
    assert_eq!(compression("none", "9"), Compression::None);
    assert_eq!(compression("gzip", "-1"), Compression::Gzip(None));
    assert_eq!(compression("gzip", "9"), Compression::Gzip(Some(9)));
    assert_eq!(compression("zstd", "19"), Compression::Zstd(Some(19)));
    assert_eq!(layout(&plan(&[("s3.compression.type", "gzip")])).extension, ".json.gz");
    let wrong = [("s3.compression.type", "gzip"), ("s3.compression.level", "10")];
    refused(&wrong, "s3.compression.level", "0 to 9");
}

#[test]
fn null_values() {
    assert_eq!(plan(&[("behavior.on.null.values", "IGNORE")]).nulls, Nulls::Ignore);
    assert_eq!(plan(&[("report.null.values.to.dlq", "false")]).nulls, Nulls::Fail);
    refused(&[("behavior.on.null.values", "write")], "behavior.on.null.values", "store.kafka.keys");
    refused(&[("store.kafka.keys", "true")], "store.kafka.keys", "not supported yet");
    refused(&[("store.kafka.headers", "true")], "store.kafka.headers", "not supported yet");
    refused(
        &[("s3.schema.partition.affix.type", "PREFIX")],
        "s3.schema.partition.affix.type",
        "NONE",
    );
}

#[test]
fn names() {
    let plan = plan(&[
        ("topics.dir", "a"),
        ("directory.delim", "|"),
        ("file.delim", "-"),
        ("filename.offset.zero.pad.width", "3"),
    ]);
    let path = layout(&plan).path("t", 1, "d");
    assert_eq!(plan.offsets.key(&path, 7, 2), "a|t|d|t-1-007-2.json");
    assert_eq!(super::tests::plan(&[("max.files.scan.limit", "5")]).max_steps, 5);
    assert!(!super::tests::plan(&[("enable.conditional.writes", "false")]).conditional);
}

#[test]
fn partitioners() {
    let by_fields = plan(&[("partitioner.class", "field"), ("partition.field.name", "a, b.c")]);
    match &by_fields.partitioner.by {
        By::Directory { fields, time: None, .. } => {
            let names: Vec<_> = fields.iter().map(FieldPath::as_str).collect();
            assert_eq!(names, ["a", "b.c"]);
        }
        other => panic!("{other:?}"),
    }
    let both = timed_plan(&[
        ("partitioner.class", "FieldAndTimeBasedPartitioner"),
        ("partition.field.name", "a"),
    ]);
    assert_eq!(time_of(&both).1.len(), 1);
    for (class, duration, text) in [
        (
            "io.confluent.connect.storage.partitioner.DailyPartitioner",
            86_400_000,
            "year=1970/month=01/day=01",
        ),
        ("HourlyPartitioner", 3_600_000, "year=1970/month=01/day=01/hour=01"),
        ("TimeBasedPartitioner", 60_000, "1970/01/01/01/00"),
    ] {
        let plan = timed_plan(&[("partitioner.class", class)]);
        let (time, _) = time_of(&plan);
        assert_eq!(time.duration_ms, duration);
        assert_eq!(time.pattern.format(0, &time.zone).as_deref(), Some(text));
    }
    refused(&[("partitioner.class", "com.example.Mine")], "partitioner.class", "can't be loaded");
    refused(&[("partitioner.class", "field")], "partition.field.name", "needs the name of a field");
}

#[test]
fn times_of_paths() {
    timed_refused(&[("partition.duration.ms", "0")], "partition.duration.ms", "positive");
    timed_refused(&[("path.format", "/")], "path.format", "cannot be empty");
    timed_refused(&[("path.format", "yyyy-TT")], "path.format", "Illegal pattern component: TT");
    timed_refused(&[("locale", "")], "locale", "cannot be empty");
    timed_refused(&[("path.format", "MMM")], "locale", "in English only");
    timed_refused(&[("timezone", "")], "timezone", "cannot be empty");
    timed_refused(&[("timezone", "Mars")], "timezone", "not recognised");
    timed_plan(&[("path.format", "MMM"), ("locale", "en-US")]);
    let with_end = timed_plan(&[("path.format", "yyyy/")]);
    let (time, _) = time_of(&with_end);
    assert_eq!(time.pattern.format(0, &time.zone).as_deref(), Some("1970"));
}

#[test]
fn extractors() {
    let extractor = |entries: &[(&str, &str)]| timed_plan(entries).partitioner.extractor.clone();
    assert_eq!(extractor(&[]), Some(Extractor::Wallclock));
    assert_eq!(extractor(&[("timestamp.extractor", "Record")]), Some(Extractor::Record));
    let by_field = extractor(&[("timestamp.extractor", "RecordField"), ("timestamp.field", "a.b")]);
    assert_eq!(by_field, Some(Extractor::Field(FieldPath::new("a.b"))));
    timed_refused(
        &[("timestamp.extractor", "com.example.Mine")],
        "timestamp.extractor",
        "can't be loaded",
    );
}

#[test]
fn rotation() {
    let rotation = timed_plan(&[
        ("flush.size", "9"),
        ("timestamp.extractor", "Record"),
        ("rotate.interval.ms", "1000"),
        ("rotate.schedule.interval.ms", "5000"),
        ("rotate.file.on.partition.change", "false"),
        ("partitioner.max.open.files", "4"),
    ])
    .rotation;
    let zone = Zone::for_id("Europe/Paris").unwrap();
    let want = Settings {
        flush_size: Some(9),
        interval_ms: Some(1000),
        schedule: Some(Schedule { interval_ms: 5000, zone }),
        max_open: Some(4),
        ..Settings::default()
    };
    assert_eq!(rotation, want);
    let by_clock = timed_plan(&[("rotate.interval.ms", "1000")]).rotation;
    assert!(by_clock.interval_by_clock && by_clock.on_path_change);
    assert_eq!(plan(&[("rotate.interval.ms", "1000")]).rotation.interval_ms, None);
    let schedule = ("rotate.schedule.interval.ms", "1");
    refused(&[schedule], "timezone", "must be set when using rotate.schedule.interval.ms");
    refused(&[schedule, ("timezone", "Mars")], "timezone", "not recognised");
    refused(&[("flush.size", "0")], "flush.size", "at least 1");
}

#[test]
fn exactly_once_can_be_required() {
    let required = ("exactly.once", "required");
    assert_eq!(plan(&[required]).exactly_once, ExactlyOnce::Required);
    timed_plan(&[required, ("timestamp.extractor", "Record")]);
    timed_refused(&[required], "exactly.once", "timestamp.extractor=Wallclock puts the clock");
    let schedule = [required, ("rotate.schedule.interval.ms", "1"), ("timezone", "UTC")];
    refused(&schedule, "exactly.once", "rotate.schedule.interval.ms depends on the clock");
    refused(
        &[required, ("enable.conditional.writes", "false")],
        "exactly.once",
        "not completed on the condition",
    );
}

#[test]
fn bounds() {
    let bounds = plan(&[
        ("buffer.max.bytes", "1048576"),
        ("spool.dir", "/var/spool"),
        ("spool.max.bytes", "2097152"),
    ])
    .bounds;
    assert_eq!((bounds.memory, bounds.spool), (1 << 20, 2 << 20));
    assert_eq!(bounds.spool_dir, PathBuf::from("/var/spool"));
    assert_eq!(plan(&[]).bounds.spool_dir, std::env::temp_dir());
}

#[test]
fn every_key_has_its_effect() {
    testing::assert_definition::<Config>();
    let unused = Unused::definition().keys.iter().map(|key| {
        assert!(key.deprecated.as_deref().is_some_and(|advice| advice.starts_with("leave it out")));
        (key.name.as_str(), "has nothing to tune here: whoever sets it is told so")
    });
    let claims: Vec<(&str, &str)> = CLAIMS.iter().copied().chain(unused).collect();
    testing::assert_every_key_is_claimed(Config::definition(), &claims);
}

const CLAIMS: &[(&str, &str)] = &[
    ("format.class", "formats"),
    ("flush.size", "rotation"),
    ("rotate.interval.ms", "rotation"),
    ("rotate.schedule.interval.ms", "rotation"),
    ("rotate.file.on.partition.change", "rotation"),
    ("partitioner.max.open.files", "rotation"),
    ("filename.offset.zero.pad.width", "names"),
    ("schema.compatibility", "formats: only NONE is accepted"),
    ("s3.bucket.name", "connections"),
    ("s3.region", "connections"),
    ("s3.part.size", "object_options"),
    ("s3.credentials.provider.class", "connections: only the default chain is accepted"),
    ("aws.access.key.id", "connections"),
    ("aws.secret.access.key", "connections"),
    ("s3.ssea.name", "object_options"),
    ("s3.sse.customer.key", "object_options: refused"),
    ("s3.sse.kms.key.id", "object_options"),
    ("s3.acl.canned", "object_options"),
    ("s3.wan.mode", "connections"),
    ("s3.compression.type", "compressions"),
    ("s3.compression.level", "compressions"),
    ("json.decimal.format", "decimals"),
    ("s3.part.retries", "connections"),
    ("s3.retry.backoff.ms", "connections"),
    ("format.bytearray.extension", "formats"),
    ("format.bytearray.separator", "formats"),
    ("s3.object.tagging", "object_options"),
    ("s3.object.tagging.key.value.pairs", "object_options"),
    ("s3.object.behavior.on.tagging.error", "object_options"),
    ("behavior.on.null.values", "null_values"),
    ("report.null.values.to.dlq", "null_values"),
    ("s3.path.style.access.enabled", "connections"),
    ("enable.conditional.writes", "names"),
    ("max.files.scan.limit", "names"),
    ("s3.proxy.url", "connections: refused"),
    ("store.kafka.keys", "null_values: refused"),
    ("store.kafka.headers", "null_values: refused"),
    ("s3.schema.partition.affix.type", "null_values: only NONE is accepted"),
    ("s3.send.digest", "object_options"),
    ("s3.checksum", "object_options"),
    ("storage.class", "formats: only S3 is accepted"),
    ("topics.dir", "names"),
    ("store.url", "connections"),
    ("directory.delim", "names"),
    ("file.delim", "names"),
    ("partitioner.class", "partitioners"),
    ("partition.field.name", "partitioners"),
    ("partition.duration.ms", "partitioners"),
    ("path.format", "partitioners"),
    ("locale", "times_of_paths"),
    ("timezone", "times_of_paths"),
    ("timestamp.extractor", "extractors"),
    ("timestamp.field", "extractors"),
    ("exactly.once", "exactly_once_can_be_required"),
    ("buffer.max.bytes", "bounds"),
    ("spool.dir", "bounds"),
    ("spool.max.bytes", "bounds"),
];
