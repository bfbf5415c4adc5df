//! The records of `golden/inputs.jsonl` and of the samples, and how records are shown.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::Value as JsonValue;
use towpath_sdk::config::Properties;
use towpath_sdk::converter::{Converter, Part};
use towpath_sdk::plugin::{BuildFor, Registry, TransformPlugin};
use towpath_sdk::record::{Header, Record};
use towpath_sdk::transform::Transform;
use towpath_sdk::value::Datum;

const INPUTS: &str = include_str!("golden/inputs.jsonl");
/// What Debezium wrote of a database; the source for PostgreSQL is held to the same file.
const SAMPLES: &str = include_str!("../../../postgres/tests/fixtures/samples.jsonl");

pub(crate) struct Records {
    registry: Registry,
    json: Arc<dyn Converter>,
    inputs: HashMap<String, JsonValue>,
    schemas: Vec<String>,
}

impl Records {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        towpath_builtin::register(&mut registry);
        towpath_connector_debezium::register(&mut registry);
        let converter = registry.find_converter("JsonConverter").unwrap();
        // What is null must be told from a default.
        let config = Properties::from([("replace.null.with.default", "false")]);
        let json = (converter.build)(&config, BuildFor::Convert(Part::Value)).ok().unwrap();
        let mut lines = INPUTS.lines().map(|line| serde_json::from_str::<JsonValue>(line).unwrap());
        let schemas = serde_json::from_value(lines.next().unwrap()).unwrap();
        let name = |input: &JsonValue| input["name"].as_str().unwrap().to_owned();
        let mut inputs: HashMap<_, _> = lines.map(|input| (name(&input), input)).collect();
        for (number, line) in SAMPLES.lines().enumerate() {
            let sample: JsonValue = serde_json::from_str(line).unwrap();
            let input = serde_json::json!({
                "topic": sample["topic"],
                "partition": sample["partition"],
                "timestamp": sample["timestamp"][1],
                "key": sample["key_raw"],
                "value": sample["value_raw"],
            });
            inputs.insert(format!("sample:{number}"), input);
        }
        Self { registry, json, inputs, schemas }
    }

    pub(crate) fn transforms(&self) -> Vec<&TransformPlugin> {
        let ours =
            |plugin: &&TransformPlugin| plugin.info.names[0].name.starts_with("io.debezium.");
        self.registry.transforms().iter().filter(ours).collect()
    }

    pub(crate) fn transform(&self, name: &str) -> &TransformPlugin {
        self.registry.find_transform(name).unwrap()
    }

    /// The record called `name`.
    pub(crate) fn read(&self, name: &str) -> Record {
        let input = &self.inputs[name];
        let mut record =
            Record::new(input["topic"].as_str().unwrap(), self.decode(&input["value"]))
                .with_key(self.decode(&input["key"]));
        record.partition = input["partition"].as_i64().map(|n| n.try_into().unwrap());
        record.timestamp = input["timestamp"].as_i64();
        for header in input["headers"].as_array().into_iter().flatten() {
            let key = header[0].as_str().unwrap().into();
            record.headers.push(Header { key, value: self.decode(&header[1]) });
        }
        record
    }

    fn decode(&self, raw: &JsonValue) -> Datum {
        let text = match (raw.as_str(), raw.as_array()) {
            (Some(text), _) => Some(text.to_owned()),
            (_, Some(both)) => {
                let schema = &self.schemas[usize::try_from(both[0].as_u64().unwrap()).unwrap()];
                let payload = both[1].as_str().unwrap();
                Some(format!("{{\"schema\":{schema},\"payload\":{payload}}}"))
            }
            _ => None,
        };
        self.json.decode("t", text.map(Bytes::from)).unwrap()
    }

    /// As the JSON converter writes it.
    pub(crate) fn encode(&self, datum: &Datum) -> Result<Option<String>, towpath_sdk::Error> {
        let bytes = self.json.encode("t", datum, &mut BytesMut::new())?;
        Ok(bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()))
    }

    /// All that can be seen of a record after a transform.
    pub(crate) fn apply(&self, transform: &dyn Transform, name: &str) -> Outcome {
        let before = self.read(name);
        let mut record = before.clone();
        match transform.apply(&mut record) {
            Ok(towpath_sdk::transform::Transformed::Drop) => Outcome::Dropped,
            Ok(towpath_sdk::transform::Transformed::Keep) => self.show(&record),
            Err(error) => {
                assert_eq!(record, before, "{name} is changed in spite of {error}");
                Outcome::Error { class: error.class().to_owned(), text: error.to_string() }
            }
        }
    }

    fn show(&self, record: &Record) -> Outcome {
        let encode = |datum: &Datum| self.encode(datum);
        let shown = || {
            let header = |header: &Header| Ok((header.key.to_string(), encode(&header.value)?));
            Ok(Shown {
                topic: record.topic.to_string(),
                partition: record.partition,
                timestamp: record.timestamp,
                key: encode(&record.key)?,
                value: encode(&record.value)?,
                headers: record.headers.iter().map(header).collect::<Result<_, _>>()?,
            })
        };
        shown().map_or_else(
            |error: towpath_sdk::Error| Outcome::Error {
                class: error.class().to_owned(),
                text: error.to_string(),
            },
            |shown| Outcome::Record(Box::new(shown)),
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The configuration is refused.
    Refused,
    Dropped,
    Error {
        class: String,
        text: String,
    },
    Record(Box<Shown>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) topic: String,
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: Vec<(String, Option<String>)>,
}
