//! Every key of both dialects changes what the sink is going to do, or is refused, or its setter is told
//! that it has nothing to tune. What a plan does is shown by the other tests.

use towpath_connector_s3::client::Credentials;
use towpath_connector_s3::config::confluent::Unused;
use towpath_connector_s3::config::{Plan, aiven, confluent};
use towpath_sdk::config::{ConnectorConfig, FieldType, Properties};
use towpath_sdk::plugin::validate_as;
use towpath_testkit::KeyWalk;

/// The whole plan, the secret in it and what is promised.
fn show(plan: &Plan) -> String {
    let secret = match &plan.connection.credentials {
        Credentials::Keys { secret, .. } => secret.expose().as_str(),
        Credentials::Chain => "",
    };
    format!("{plan:?} {secret} {}", plan.guarantee())
}

fn confluent_plan(properties: &Properties) -> String {
    let config = confluent::Config::parse(properties).expect("a valid configuration");
    show(&config.plan().expect("a plan"))
}

const KEY_ID: (&str, &str) = ("aws.access.key.id", "id");
const KEY_SECRET: (&str, &str) = ("aws.secret.access.key", "fake");

/// Set, all of these keys have an effect.
const TIMED: [(&str, &str); 6] = [
    ("partitioner.class", "TimeBasedPartitioner"),
    ("partition.duration.ms", "60000"),
    ("path.format", "yyyy/MM/dd/HH/mm"),
    ("locale", "en"),
    ("timezone", "Europe/Paris"),
    ("timestamp.extractor", "Record"),
];

fn timed<'e>(entry: (&'e str, &'e str)) -> Vec<(&'e str, &'e str)> {
    TIMED.iter().copied().chain([entry]).collect()
}

fn connection(walk: KeyWalk<'_, String>) -> KeyWalk<'_, String> {
    walk.changes("s3.bucket.name", "b", "c")
        .refuses("s3.bucket.name", "")
        .changes("s3.region", "eu-west-1", "us-east-1")
        .changes("store.url", None, "http://store:9000")
        .changes_with("aws.access.key.id", "id", "other", &[KEY_SECRET])
        .changes_with("aws.secret.access.key", "fake", "forged", &[KEY_ID])
        .refuses("s3.credentials.provider.class", "com.example.Mine")
        .changes("s3.wan.mode", "true", "false")
        .changes("s3.path.style.access.enabled", "true", "false")
        .changes("s3.part.retries", "0", "3")
        .changes("s3.retry.backoff.ms", "1", "200")
        .refuses("s3.proxy.url", "http://proxy:3128")
}

fn objects(walk: KeyWalk<'_, String>) -> KeyWalk<'_, String> {
    let tagged = ("s3.object.tagging", "true");
    walk.changes("s3.part.size", "5242880", "6000000")
        .changes("s3.ssea.name", "", "AES256")
        .refuses("s3.sse.customer.key", "fake")
        .changes_with("s3.sse.kms.key.id", "", "k", &[("s3.ssea.name", "aws:kms")])
        .refuses("s3.sse.kms.key.id", "k")
        .changes("s3.acl.canned", None, "private")
        .changes("s3.compression.type", "none", "gzip")
        .changes_with("s3.compression.level", "1", "9", &[("s3.compression.type", "gzip")])
        .changes("s3.object.tagging", "true", "false")
        .changes_with("s3.object.tagging.key.value.pairs", "", "a:b", &[tagged])
        .changes_with("s3.object.behavior.on.tagging.error", "ignore", "fail", &[tagged])
        .changes_with("s3.send.digest", "true", "false", &[("s3.checksum", "none")])
        .changes("s3.checksum", "crc32c", "none")
        .changes("enable.conditional.writes", "true", "false")
        .changes("max.files.scan.limit", "1", "100")
}

fn content(walk: KeyWalk<'_, String>) -> KeyWalk<'_, String> {
    let raw = ("format.class", "ByteArrayFormat");
    walk.changes("format.class", "JsonFormat", "ByteArrayFormat")
        .refuses("format.class", "AvroFormat")
        .refuses("storage.class", "HdfsStorage")
        .refuses("schema.compatibility", "FULL")
        .changes("json.decimal.format", "BASE64", "NUMERIC")
        .changes_with("format.bytearray.extension", ".bin", ".txt", &[raw])
        .changes_with("format.bytearray.separator", "a", "b", &[raw])
        .changes("behavior.on.null.values", "fail", "ignore")
        .refuses("behavior.on.null.values", "write")
        .changes("report.null.values.to.dlq", "true", "false")
        .refuses("store.kafka.keys", "true")
        .refuses("store.kafka.headers", "true")
        .refuses("s3.schema.partition.affix.type", "PREFIX")
}

fn places(walk: KeyWalk<'_, String>) -> KeyWalk<'_, String> {
    let by_field = ("partitioner.class", "FieldPartitioner");
    let in_field = ("timestamp.extractor", "RecordField");
    walk.changes("topics.dir", "topics", "other")
        .changes("directory.delim", "/", "|")
        .changes("file.delim", "+", "-")
        .changes("filename.offset.zero.pad.width", "10", "20")
        .changes_with("partitioner.class", "DefaultPartitioner", "TimeBasedPartitioner", &TIMED)
        .refuses("partitioner.class", "com.example.Mine")
        .changes_with("partition.field.name", "a", "b", &[by_field])
        .changes_with("partition.duration.ms", "60000", "3600000", &TIMED)
        .changes_with("path.format", "yyyy", "yyyy/MM", &TIMED)
        .refuses_with("locale", "", &TIMED)
        .refuses_with("locale", "fr", &timed(("path.format", "MMM")))
        .changes_with("timezone", "UTC", "Europe/Paris", &TIMED)
        .changes_with("timestamp.extractor", "Wallclock", "Record", &TIMED)
        .changes_with("timestamp.field", "a", "b", &timed(in_field))
}

fn cuts(walk: KeyWalk<'_, String>) -> KeyWalk<'_, String> {
    let interval = timed(("rotate.interval.ms", "1000"));
    let utc = [("timezone", "UTC")];
    walk.changes("flush.size", "3", "4")
        .changes_with("rotate.interval.ms", "-1", "1000", &TIMED)
        .changes_with("rotate.schedule.interval.ms", "-1", "1000", &utc)
        .changes_with("rotate.file.on.partition.change", "true", "false", &interval)
        .changes("partitioner.max.open.files", "-1", "2")
        .changes("exactly.once", "preferred", "required")
        .refuses_with("exactly.once", "required", &[("enable.conditional.writes", "false")])
        .changes("buffer.max.bytes", "1048576", "2097152")
        .changes("spool.dir", "/tmp", "/var/tmp")
        .changes("spool.max.bytes", "1048576", "2097152")
}

#[test]
fn every_key_of_confluents_dialect_has_its_effect() {
    let base = Properties::from([
        ("storage.class", "S3Storage"),
        ("format.class", "JsonFormat"),
        ("flush.size", "3"),
        ("s3.bucket.name", "b"),
    ]);
    let definition = confluent::Config::definition();
    let walk = KeyWalk::new(definition, base, validate_as::<confluent::Config>, confluent_plan);
    let mut walk = cuts(places(content(objects(connection(walk)))));
    for key in &Unused::definition().keys {
        let value = match key.kind {
            FieldType::Boolean => "true",
            FieldType::Int | FieldType::Long => "7",
            _ => "x",
        };
        walk = walk.tells(&key.name, value);
    }
    walk.finish();
}

#[test]
fn every_key_of_aivens_dialect_has_its_effect() {
    let base = Properties::from([("aws.s3.bucket.name", "b"), ("format.output.type", "jsonl")]);
    let plan = |properties: &Properties| {
        let config = aiven::Config::parse(properties).expect("a valid configuration");
        show(&config.plan().expect("a plan"))
    };
    let role = ("aws.sts.role.arn", "arn");
    let hours = "{{topic}}{{partition}}{{start_offset}}{{timestamp:unit=HH}}";
    let by_time = ("file.name.template", hours);
    let by_count = [("file.max.records", "5"), ("file.flush.interval.ms", "0")];
    KeyWalk::new(aiven::Config::definition(), base, validate_as::<aiven::Config>, plan)
        .changes_with("aws.access.key.id", "id", "other", &[KEY_SECRET])
        .changes_with("aws.secret.access.key", "fake", "forged", &[KEY_ID])
        .refuses("aws.credentials.provider", "com.example.Mine")
        .changes("aws.s3.bucket.name", "b", "c")
        .changes("aws.s3.sse.algorithm", None, "AES256")
        .changes("aws.s3.endpoint", None, "http://store:9000")
        .changes("aws.s3.region", "eu-west-1", "us-east-1")
        .changes("aws.s3.part.size.bytes", "5242880", "6000000")
        .changes("aws.s3.prefix", None, "p/")
        .changes("aws.sts.role.arn", None, "arn")
        .changes_with("aws.sts.role.external.id", None, "x", &[role])
        .changes_with("aws.sts.role.session.name", None, "s", &[role])
        .changes_with("aws.sts.role.session.duration", "900", "3600", &[role])
        .refuses("aws.sts.config.endpoint", "https://sts.example")
        .changes("aws.s3.backoff.delay.ms", "1", "100")
        .changes("aws.s3.backoff.max.delay.ms", "1000", "20000")
        .changes("aws.s3.backoff.max.retries", "1", "3")
        .changes("file.name.template", None, hours)
        .refuses("file.name.template", "{{key}}")
        .changes("file.compression.type", "none", "zstd")
        .refuses("file.compression.type", "snappy")
        .changes("file.max.records", "0", "5")
        .changes_with("file.name.timestamp.timezone", "Z", "Europe/Paris", &[by_time])
        .changes_with("file.name.timestamp.source", "wallclock", "event", &[by_time])
        .changes("file.flush.interval.ms", "60000", "1000")
        .changes("format.output.type", "jsonl", "json")
        .refuses("format.output.type", "csv")
        .changes("format.output.fields", "value", "key,value")
        .changes("format.output.envelope", "true", "false")
        .tells("format.output.fields.value.encoding", "none")
        .tells("kafka.retry.backoff.ms", "1000")
        .changes("s3.checksum", "crc32c", "none")
        .changes_with("exactly.once", "preferred", "required", &by_count)
        .refuses("exactly.once", "required")
        .changes("buffer.max.bytes", "1048576", "2097152")
        .changes("spool.dir", "/tmp", "/var/tmp")
        .changes("spool.max.bytes", "1048576", "2097152")
        .finish();
}
