//! What genuine Debezium 3.7 has written of `samples.sql`, `structured.sql`, `required.sql` and `odd.sql`
//! on PostgreSQL 15, held against what we write of them: keys, values and headers, field by field, under
//! three configurations; two with `time.precision.mode=structured`; four for what is shown of columns
//! without nulls where a value is not known; and four for what tables and settings seldom have.
//!
//! Left out are clocks, positions in the log, transaction ids and versions. The rows of one table's
//! snapshot come in any order. What differs on purpose stands in [`differs_on_purpose`].

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use serde_json::{Map, Value as Json};
use towpath_connector_postgres::PostgresSource;
use towpath_sdk::config::Properties;
use towpath_sdk::converter::{Converter, Part};
use towpath_sdk::offset::StoredOffsets;
use towpath_sdk::plugin::{BuildFor, ConnectorPlugin, Registry};
use towpath_sdk::record::Record;
use towpath_sdk::source::Budget;
use towpath_testkit::FakeHost;

use crate::server::{Options, Server, Version};

/// What was recorded together.
struct Recorded {
    sql: &'static str,
    configs: &'static [&'static str],
    samples: &'static str,
}

const SAMPLES: Recorded = Recorded {
    sql: include_str!("../fixtures/samples.sql"),
    configs: &[
        include_str!("../fixtures/dbz1.json"),
        include_str!("../fixtures/dbz2.json"),
        include_str!("../fixtures/dbz3.json"),
    ],
    samples: include_str!("../fixtures/samples.jsonl"),
};
const STRUCTURED: Recorded = Recorded {
    sql: include_str!("../fixtures/structured.sql"),
    configs: &[include_str!("../fixtures/st1.json"), include_str!("../fixtures/st2.json")],
    samples: include_str!("../fixtures/structured.jsonl"),
};
const REQUIRED: Recorded = Recorded {
    sql: include_str!("../fixtures/required.sql"),
    configs: &[
        include_str!("../fixtures/rq1.json"),
        include_str!("../fixtures/rq2.json"),
        include_str!("../fixtures/rq3.json"),
        include_str!("../fixtures/rq4.json"),
    ],
    samples: include_str!("../fixtures/required.jsonl"),
};
const ODD: Recorded = Recorded {
    sql: include_str!("../fixtures/odd.sql"),
    configs: &[
        include_str!("../fixtures/od1.json"),
        include_str!("../fixtures/od2.json"),
        include_str!("../fixtures/od3.json"),
        include_str!("../fixtures/od4.json"),
    ],
    samples: include_str!("../fixtures/odd.jsonl"),
};
const ROOM: Budget = Budget { bytes: 1 << 30, records: 1 << 20 };

/// A record as it is compared.
#[derive(Debug, Clone, PartialEq)]
struct Shown {
    key: Json,
    value: Json,
    headers: Vec<(String, Json)>,
}

type Topics = BTreeMap<String, Vec<Shown>>;

fn registry() -> Registry {
    let mut registry = Registry::default();
    towpath_builtin::register(&mut registry);
    registry.source::<PostgresSource>();
    registry
}

/// The converters that a configuration names.
struct Converters {
    key: Arc<dyn Converter>,
    value: Arc<dyn Converter>,
    header: Arc<dyn Converter>,
}

impl Converters {
    fn new(config: &Properties) -> Self {
        let registry = registry();
        let build = |part: Part, prefix: &str| {
            let plugin = registry.find_converter(config.get(prefix).unwrap()).unwrap();
            let entries = config.iter().filter_map(|(key, value)| {
                Some((key.strip_prefix(prefix)?.strip_prefix('.')?, value))
            });
            (plugin.build)(&entries.collect(), BuildFor::Convert(part)).ok().unwrap()
        };
        let header = registry.find_header_converter("SimpleHeaderConverter").unwrap();
        let header = (header.build)(&Properties::new(), BuildFor::Convert(Part::Header));
        Self {
            key: build(Part::Key, "key.converter"),
            value: build(Part::Value, "value.converter"),
            header: header.ok().unwrap(),
        }
    }

    fn show(&self, record: &Record) -> Shown {
        let mut scratch = BytesMut::new();
        let mut text = |converter: &dyn Converter, name: &str, datum| {
            let bytes = converter.encode(name, datum, &mut scratch).unwrap();
            bytes.map_or(Json::Null, |bytes| match serde_json::from_slice(&bytes) {
                Ok(json) => json,
                Err(_) => Json::String(String::from_utf8(bytes.to_vec()).unwrap()),
            })
        };
        let headers = record.headers.iter();
        let headers =
            headers.map(|h| (h.key.to_string(), text(&*self.header, &h.key, &h.value))).collect();
        Shown {
            key: text(&*self.key, &record.topic, &record.key),
            value: text(&*self.value, &record.topic, &record.value),
            headers,
        }
        .masked()
    }
}

impl Shown {
    /// Without what is another in each run.
    fn masked(mut self) -> Self {
        mask(&mut self.key);
        mask(&mut self.value);
        for (key, value) in &mut self.headers {
            if key == "__debezium.context.runId" {
                *value = Json::Null;
            }
        }
        self
    }

    fn field(&self, path: &[&str]) -> &Json {
        let value = match self.value.get("payload") {
            Some(payload) => payload,
            None => &self.value,
        };
        path.iter().fold(value, |json, name| json.get(name).unwrap_or(&Json::Null))
    }
}

/// Fields whose values are another in each run.
const MASKED: &[&str] = &["ts_ms", "ts_us", "ts_ns", "txId", "lsn", "version"];

fn mask(json: &mut Json) {
    match json {
        Json::Object(fields) => {
            let is_schema = fields.contains_key("type");
            for (name, value) in fields {
                match value {
                    Json::Null => {}
                    // A schema's version counts.
                    _ if is_schema => mask(value),
                    _ if MASKED.contains(&name.as_str()) => *value = "masked".into(),
                    Json::String(text) if name == "sequence" => {
                        *text = text.chars().filter(|c| !c.is_ascii_digit()).collect();
                    }
                    Json::String(text) if name == "id" && text.contains(':') => {
                        *text = "transaction".into();
                    }
                    other => mask(other),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

/// Genuine Debezium names the collection of logical messages by a Java object's address; ours has a name.
fn differs_on_purpose(shown: &mut Shown) {
    let has_schema = shown.value.get("payload").is_some();
    let payload = if has_schema { shown.value.get_mut("payload") } else { Some(&mut shown.value) };
    if let Some(after) = payload.and_then(|payload| payload.get_mut("after")) {
        structured_differs_on_purpose(after);
        // It loses values of the type `name` in the stream.
        if after["nm"] == "" {
            after["nm"] = "x".into();
        }
    }
    let text = shown.value.to_string();
    if text.contains("LogicalDecodingMessageId@") {
        let collections = shown.value.get_mut("data_collections").unwrap();
        collections[0]["data_collection"] = "message".into();
    }
}

/// Of structured times it shows some years before Christ as if they were after, others by another
/// calendar, and times in arrays without their microseconds.
fn structured_differs_on_purpose(after: &mut Json) {
    let is_row = |id: i64| after["id"] == id || after["id"] == id + 100;
    if is_row(1) && after["ta"][0]["nanos"] == 0 {
        after["ta"][0]["nanos"] = 4000.into();
    } else if is_row(5) && after["tsa"][0].is_object() {
        after["d"]["year"] = (-43).into();
        after["dd"]["year"] = (-4712).into();
        after["da"][0]["year"] = (-43).into();
        after["tsa"][0]["day"] = 15.into();
        after["tstza"][0]["year"] = (-43).into();
    }
}

/// The samples of a configuration, by topic.
fn samples(recorded: &Recorded, prefix: &str) -> Topics {
    let mut topics: BTreeMap<String, BTreeMap<i64, Shown>> = BTreeMap::new();
    for line in recorded.samples.lines() {
        let sample: Map<String, Json> = serde_json::from_str(line).unwrap();
        let topic = sample["topic"].as_str().unwrap();
        // Whatever the delimiter is.
        if !topic.starts_with(prefix) {
            continue;
        }
        let read = |json: &Json| match json {
            Json::String(text) => {
                serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.clone()))
            }
            other => other.clone(),
        };
        let headers = sample["headers"].as_array().unwrap().iter();
        let headers =
            headers.map(|pair| (pair[0].as_str().unwrap().to_owned(), read(&pair[1]))).collect();
        let shown =
            Shown { key: read(&sample["key_raw"]), value: read(&sample["value_raw"]), headers };
        let mut shown = shown.masked();
        differs_on_purpose(&mut shown);
        let offset = sample["offset"].as_i64().unwrap();
        topics.entry(topic.to_owned()).or_default().insert(offset, shown);
    }
    topics.into_iter().map(|(topic, all)| (topic, all.into_values().collect())).collect()
}

fn config(text: &str, server: &Server) -> Properties {
    let json: Json = serde_json::from_str(text).unwrap();
    let entries = json["config"].as_object().unwrap().iter();
    let mut config: Properties =
        entries.map(|(key, value)| (key.as_str(), value.as_str().unwrap())).collect();
    config.insert("database.port", server.target("postgres").port.to_string());
    config
}

/// Reads until a record of which `until` is true, for at most a minute.
async fn read(
    task: &mut Box<dyn towpath_sdk::plugin::erased::DynSourceTask>,
    host: &FakeHost,
    until: impl Fn(&Record) -> bool,
) -> Vec<Record> {
    let mut records = Vec::new();
    while !records.iter().any(&until) {
        let poll = tokio::time::timeout(Duration::from_secs(60), task.poll(ROOM)).await;
        let Ok(batch) = poll else {
            panic!("nothing came in time; the task says {:?}", host.reasons());
        };
        records.extend(batch.unwrap().records);
    }
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_postgresql_15_are_as_debeziums() {
    records_are_as_debeziums(Version::V15, &SAMPLES).await;
}

/// Debezium's samples are of 15: the records of a later server are no others.
#[tokio::test(flavor = "multi_thread")]
async fn records_of_postgresql_18_are_the_same() {
    records_are_as_debeziums(Version::V18, &SAMPLES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn structured_times_are_as_debeziums() {
    for version in [Version::V15, Version::V18] {
        records_are_as_debeziums(version, &STRUCTURED).await;
    }
}

/// A replica identity that is the key shows nothing of the other columns, not even of those that take no
/// nulls.
#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_not_known_are_as_debeziums() {
    for version in [Version::V15, Version::V18] {
        records_are_as_debeziums(version, &REQUIRED).await;
    }
}

/// Names, keys, identities, partitions and values as they are seldom, under settings of all kinds.
#[tokio::test(flavor = "multi_thread")]
async fn odd_tables_are_as_debeziums() {
    for version in [Version::V15, Version::V18] {
        records_are_as_debeziums(version, &ODD).await;
    }
}

async fn records_are_as_debeziums(version: Version, recorded: &Recorded) {
    let server = Server::start_with(Options { version, ..Options::default() }).await;
    server.execute("create database lab").await;
    let lab = server.client_of("lab").await;
    let (before, after) = recorded.sql.split_once("-- @phase 2").unwrap();
    lab.batch_execute(before).await.unwrap();
    lab.batch_execute("create publication pub1 for all tables").await.unwrap();
    let registry = registry();
    let mut running = Vec::new();
    for text in recorded.configs {
        let config = config(text, &server);
        let class = config.get("connector.class").unwrap();
        let Some((ConnectorPlugin::Source(plugin), _)) = registry.find_connector(class) else {
            panic!("{class} is no source");
        };
        let host = FakeHost::new();
        let mut planner = plugin.start(config.clone(), host.connector()).await.unwrap();
        let share = planner.plan(NonZeroU32::MIN).await.unwrap().remove(0);
        let cx = host.source_task(0, StoredOffsets::default());
        let mut task = plugin.task(config.clone(), share, cx).await.unwrap();
        let converters = Converters::new(&config);
        let is_last =
            |record: &Record| converters.show(record).field(&["source", "snapshot"]) == "last";
        let rows = read(&mut task, &host, is_last).await;
        running.push((config, host, task, rows));
    }
    for line in after.lines().skip(1) {
        lab.batch_execute(line).await.unwrap();
    }
    let mut wrong = Vec::new();
    for (config, host, mut task, mut records) in running {
        let prefix = config.get("topic.prefix").unwrap();
        let converters = Converters::new(&config);
        // The last thing that happens is a logical message, in a transaction of its own.
        let with_transactions = config.get("provide.transaction.metadata") == Some("true");
        let is_last = |record: &Record| match with_transactions {
            true => {
                converters.show(record).field(&["data_collections"])[0]["data_collection"]
                    == "message"
            }
            false => converters.show(record).field(&["message", "prefix"]) == "my-prefix",
        };
        records.extend(read(&mut task, &host, is_last).await);
        let mut ours = Topics::new();
        for record in &records {
            ours.entry(record.topic.to_string()).or_default().push(converters.show(record));
        }
        compare(&samples(recorded, prefix), &mut ours, &mut wrong);
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// What of `ours` is not as in `theirs`.
fn compare(theirs: &Topics, ours: &mut Topics, wrong: &mut Vec<String>) {
    for (topic, expect) in theirs {
        let Some(found) = ours.remove(topic) else {
            wrong.push(format!("{topic}: no records"));
            continue;
        };
        if found.len() != expect.len() {
            wrong.push(format!("{topic}: {} records, not {}", found.len(), expect.len()));
        }
        for (n, (expect, found)) in expect.iter().zip(&found).enumerate() {
            let mut at = |what: &str, expect: &Json, found: &Json| {
                differences(&format!("{topic}[{n}] {what}"), expect, found, wrong);
            };
            at("key", &expect.key, &found.key);
            at("value", &expect.value, &found.value);
            let headers = |shown: &Shown| {
                let pairs = shown
                    .headers
                    .iter()
                    .map(|(key, value)| Json::from(vec![Json::from(key.as_str()), value.clone()]));
                Json::Array(pairs.collect())
            };
            at("headers", &headers(expect), &headers(found));
        }
    }
    for topic in ours.keys() {
        wrong.push(format!("{topic}: not expected"));
    }
}

fn differences(at: &str, expect: &Json, found: &Json, wrong: &mut Vec<String>) {
    match (expect, found) {
        (Json::Object(a), Json::Object(b)) => {
            let names = |json: &Map<String, Json>| json.keys().cloned().collect::<Vec<_>>();
            if names(a) != names(b) {
                wrong.push(format!("{at}: fields {:?}, not {:?}", names(b), names(a)));
            }
            for (name, expect) in a {
                if let Some(found) = b.get(name) {
                    differences(&format!("{at}.{name}"), expect, found, wrong);
                }
            }
        }
        (Json::Array(a), Json::Array(b)) if a.len() == b.len() => {
            for (n, (expect, found)) in a.iter().zip(b).enumerate() {
                differences(&format!("{at}[{n}]"), expect, found, wrong);
            }
        }
        _ if expect == found => {}
        _ => {
            let short = |json: &Json| json.to_string().chars().take(300).collect::<String>();
            wrong.push(format!("{at}: {}, not {}", short(found), short(expect)));
        }
    }
}
