use towpath_sdk::config::{FieldErrors, Properties, testing};
use towpath_sdk::guarantee::Delivery;

use super::*;
use crate::name::Variables;

const LEAST: [(&str, &str); 2] = [("aws.s3.bucket.name", "b"), ("format.output.type", "jsonl")];

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

/// The key of an object of partition 1 at offset 7, at 1970-01-01T23:30Z.
fn key(plan: &Plan) -> String {
    let By::Template { template, zone } = &plan.partitioner.by else { panic!("directories") };
    let of = Variables { topic: "t", partition: 1, key: "k", time: 84_600_000, zone };
    plan.offsets.key(&template.path(&of).unwrap(), 7, 0)
}

#[test]
fn aivens_defaults() {
    let plan = plan(&[]);
    let connection = &plan.connection;
    assert_eq!((connection.region.as_deref(), connection.path_style), (Some("us-east-1"), false));
    assert_eq!((connection.retries, connection.backoff), (3, Duration::from_millis(100)));
    assert_eq!(connection.max_backoff, Duration::from_secs(20));
    assert_eq!((plan.part_size, plan.compression), (5 << 20, Compression::Gzip(None)));
    assert_eq!(key(&plan), "t-1-7.gz");
    assert_eq!(plan.rotation, Settings { age_ms: Some(60_000), ..Settings::default() });
    let envelope = Envelope { fields: vec![OutputField::Value], wrapped: true, array: false };
    assert_eq!(plan.format, Format::Envelope(envelope));
    assert_eq!((plan.nulls, plan.tagging.is_none()), (Nulls::Write, true));
    assert_eq!(plan.guarantee().delivery, Delivery::AtLeastOnce);
}

#[test]
fn names_of_objects() {
    let named = |template: &str| key(&plan(&[("file.name.template", template)]));
    assert_eq!(named("{{topic}}/{{partition}}/{{key}}/{{start_offset}}"), "t/1/k/7");
    let paris = [
        ("file.name.template", "{{topic}}{{partition}}{{start_offset}}-{{timestamp:unit=dd}}"),
        ("file.name.timestamp.timezone", "Europe/Paris"),
        ("file.name.timestamp.source", "event"),
    ];
    let plan = plan(&paris);
    assert_eq!(key(&plan), "t17-02");
    assert_eq!(plan.partitioner.extractor, Some(Extractor::Record));
    refused(&[("file.name.template", "{{key}}")], "file.name.template", "the template lacks topic");
    refused(
        &[("file.name.timestamp.timezone", "Mars")],
        "file.name.timestamp.timezone",
        "not recognised",
    );
}

#[test]
fn old_spellings() {
    let plan = plan(&[
        ("aws.s3.prefix", "old/{{utc_date}}/"),
        ("aws_s3_region", "eu-west-1"),
        ("output_compression", "none"),
        ("output_fields", "key,value"),
        ("timestamp.source", "event"),
    ]);
    assert_eq!(key(&plan), "old/1970-01-01/t-1-00000000000000000007");
    assert_eq!(plan.connection.region.as_deref(), Some("eu-west-1"));
    assert_eq!(plan.compression, Compression::None);
    assert_eq!(plan.partitioner.extractor, Some(Extractor::Record));
    let both = [("aws.s3.prefix", "p"), ("file.name.template", "{{topic}}")];
    refused(&both, "aws.s3.prefix", "can't be used together");
}

#[test]
fn output() {
    let format = |entries: &[(&str, &str)]| plan(entries).format;
    let envelope = |fields: &[OutputField], wrapped, array| {
        Format::Envelope(Envelope { fields: fields.to_vec(), wrapped, array })
    };
    let bare = [("format.output.envelope", "false"), ("format.output.type", "json")];
    assert_eq!(format(&bare), envelope(&[OutputField::Value], false, true));
    let fields = [OutputField::Headers, OutputField::Offset];
    assert_eq!(
        format(&[("format.output.fields", "headers, offset")]),
        envelope(&fields, true, false)
    );
    for kind in ["csv", "avro", "parquet"] {
        refused(&[("format.output.type", kind)], "format.output.type", "not supported yet");
    }
    let several = [("format.output.envelope", "false"), ("format.output.fields", "key,value")];
    refused(&several, "format.output.envelope", "must contain only one field");
    assert_eq!(plan(&[("file.compression.type", "ZSTD")]).compression, Compression::Zstd(None));
    refused(
        &[("file.compression.type", "snappy")],
        "file.compression.type",
        "Snappy is not supported",
    );
}

#[test]
fn bounds_of_objects() {
    let by_count = [("file.max.records", "5"), ("file.flush.interval.ms", "0")];
    let by_count = plan(&by_count);
    assert_eq!(by_count.rotation, Settings { file_records: Some(5), ..Settings::default() });
    assert_eq!(by_count.guarantee().delivery, Delivery::ExactlyOnce);
    refused(&[("file.flush.interval.ms", "0")], "file.max.records", "set it");
    refused(
        &[("exactly.once", "required")],
        "exactly.once",
        "file.flush.interval.ms depends on the clock",
    );
    assert_eq!(plan(&[("aws.s3.part.size.bytes", "6000000")]).part_size, 6_000_000);
}

#[test]
fn connections() {
    let connection = plan(&[
        ("aws.s3.endpoint", "http://store:9000"),
        ("aws.access.key.id", "id"),
        ("aws.secret.access.key", "fake"),
        ("aws.sts.role.arn", "arn"),
        ("aws.sts.role.external.id", "x"),
        ("aws.sts.role.session.name", "s"),
        ("aws.sts.role.session.duration", "900"),
        ("aws.s3.backoff.delay.ms", "1"),
        ("aws.s3.backoff.max.delay.ms", "2"),
        ("aws.s3.backoff.max.retries", "30"),
    ])
    .connection;
    assert!(connection.path_style);
    assert!(matches!(connection.credentials, Credentials::Keys { id, .. } if id == "id"));
    let role = connection.role.unwrap();
    assert_eq!((role.arn.as_str(), role.duration), ("arn", Duration::from_secs(900)));
    assert_eq!((role.external_id.as_deref(), role.session_name.as_deref()), (Some("x"), Some("s")));
    assert_eq!(connection.backoff, Duration::from_millis(1));
    assert_eq!((connection.max_backoff, connection.retries), (Duration::from_millis(2), 30));
    refused(&[("aws.secret.access.key", "fake")], "aws.access.key.id", "go together");
    refused(&[("aws.sts.role.session.name", "s")], "aws.sts.role.arn", "need aws.sts.role.arn");
    refused(
        &[("aws.sts.config.endpoint", "https://x")],
        "aws.sts.config.endpoint",
        "must be one of",
    );
    refused(
        &[("aws.credential.provider", "com.example.Mine")],
        "aws.credentials.provider",
        "can't be loaded",
    );
    refused(&[("aws.s3.bucket.name", "")], "aws.s3.bucket.name", "non-empty");
}

#[test]
fn object_options() {
    let plan = plan(&[("aws.s3.sse.algorithm", "AES256"), ("s3.checksum", "none")]);
    assert_eq!(plan.objects.encryption, Some(ServerSideEncryption::Aes256));
    assert!(!plan.objects.crc32c);
}

#[test]
fn every_key_has_its_effect() {
    testing::assert_definition::<Config>();
    testing::assert_every_key_is_claimed(Config::definition(), CLAIMS);
}

const CLAIMS: &[(&str, &str)] = &[
    ("aws.access.key.id", "connections"),
    ("aws.secret.access.key", "connections"),
    ("aws.credentials.provider", "connections: only the default chain is accepted"),
    ("aws.s3.bucket.name", "connections"),
    ("aws.s3.sse.algorithm", "object_options"),
    ("aws.s3.endpoint", "connections"),
    ("aws.s3.region", "old_spellings"),
    ("aws.s3.part.size.bytes", "bounds_of_objects"),
    ("aws.s3.prefix", "old_spellings"),
    ("aws.sts.role.arn", "connections"),
    ("aws.sts.role.external.id", "connections"),
    ("aws.sts.role.session.name", "connections"),
    ("aws.sts.role.session.duration", "connections"),
    ("aws.sts.config.endpoint", "connections: only the global one is accepted"),
    ("aws.s3.backoff.delay.ms", "connections"),
    ("aws.s3.backoff.max.delay.ms", "connections"),
    ("aws.s3.backoff.max.retries", "connections"),
    ("file.name.template", "names_of_objects"),
    ("file.compression.type", "output"),
    ("file.max.records", "bounds_of_objects"),
    ("file.name.timestamp.timezone", "names_of_objects"),
    ("file.name.timestamp.source", "names_of_objects"),
    ("file.flush.interval.ms", "bounds_of_objects"),
    ("format.output.type", "output"),
    ("format.output.fields", "output"),
    ("format.output.envelope", "output"),
    (
        "format.output.fields.value.encoding",
        "only csv, which is refused, encodes values: whoever sets it is told so",
    ),
    ("kafka.retry.backoff.ms", "has nothing to tune here: whoever sets it is told so"),
    ("s3.checksum", "object_options"),
    ("exactly.once", "bounds_of_objects"),
    ("buffer.max.bytes", "config::confluent: bounds"),
    ("spool.dir", "config::confluent: bounds"),
    ("spool.max.bytes", "config::confluent: bounds"),
];
