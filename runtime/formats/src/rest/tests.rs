//! Every recorded reply is read into its shape and written back as the same text.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;
use crate::{PatchMap, Properties, to_java_json};

struct Sample {
    number: u64,
    method: String,
    path: String,
    request: Value,
    status: u64,
    response: String,
}

fn samples() -> Vec<Sample> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let sample = |line: &str| {
        let value: Value = serde_json::from_str(line).expect("a sample");
        Sample {
            number: value["n"].as_u64().expect("a number"),
            method: text(&value["method"]),
            path: text(&value["path"]),
            request: value["request"].clone(),
            status: value["status"].as_u64().expect("a status"),
            response: text(&value["response"]),
        }
    };
    include_str!("../../fixtures/rest.jsonl").lines().map(sample).collect()
}

fn same<T: DeserializeOwned + serde::Serialize>(sample: &Sample) {
    let read: T = serde_json::from_str(&sample.response)
        .unwrap_or_else(|error| panic!("sample {}: {error}", sample.number));
    assert_eq!(to_java_json(&read).expect("JSON"), sample.response, "sample {}", sample.number);
}

/// The shape of a reply, by its request.
fn check(sample: &Sample) {
    type Expanded = indexmap::IndexMap<String, ExpandedConnector>;
    type Loggers = indexmap::IndexMap<String, LoggerLevel>;
    let path = sample.path.split('?').next().expect("a path");
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    if sample.status >= 400 {
        return same::<ErrorBody>(sample);
    }
    match (sample.method.as_str(), parts.as_slice()) {
        ("GET", [""]) => same::<WorkerInfo>(sample),
        ("GET", ["health"]) => same::<Health>(sample),
        ("GET", ["connectors"]) if sample.response.starts_with('[') => same::<Vec<String>>(sample),
        ("GET", ["connectors"]) => same::<Expanded>(sample),
        ("POST", ["connectors"]) | ("GET", ["connectors", _]) => same::<ConnectorInfo>(sample),
        ("PUT" | "PATCH", ["connectors", _, "config"]) => same::<ConnectorInfo>(sample),
        ("GET", ["connectors", _, "config"]) => same::<Properties>(sample),
        ("GET", ["connectors", _, "status"]) | ("POST", ["connectors", _, "restart"]) => {
            same::<ConnectorStateInfo>(sample);
        }
        ("GET", ["connectors", _, "tasks"]) => same::<Vec<TaskInfo>>(sample),
        ("GET", ["connectors", _, "tasks", _, "status"]) => same::<TaskState>(sample),
        ("GET", ["connectors", _, "topics"]) => same::<ActiveTopics>(sample),
        ("GET", ["connectors", _, "offsets"]) => same::<ConnectorOffsets>(sample),
        ("PATCH" | "DELETE", ["connectors", _, "offsets"]) => same::<Message>(sample),
        ("GET", ["connector-plugins"]) => same::<Vec<PluginInfo>>(sample),
        ("GET", ["connector-plugins", _, "config"]) => same::<Vec<ConfigKeyInfo>>(sample),
        ("PUT", ["connector-plugins", _, "config", "validate"]) => same::<ConfigInfos>(sample),
        ("GET", ["admin", "loggers"]) => same::<Loggers>(sample),
        ("GET", ["admin", "loggers", _]) => same::<LoggerLevel>(sample),
        ("PUT", ["admin", "loggers", _]) => same::<Vec<String>>(sample),
        other => panic!("sample {} has no shape: {other:?}", sample.number),
    }
}

#[test]
fn every_recorded_reply_is_written_back_as_it_was() {
    let samples = samples();
    assert!(samples.len() > 50);
    samples.iter().for_each(check);
}

#[test]
fn recorded_changes_of_offsets_are_read() {
    let read = |number: u64| {
        let sample = samples().into_iter().find(|s| s.number == number).expect("a sample");
        serde_json::from_value::<ConnectorOffsets>(sample.request).expect("offsets")
    };
    let altered = read(104);
    let entry = SinkOffset::try_from(&altered.to_alter().expect("entries")[0]).expect("a sink's");
    assert_eq!(entry, SinkOffset { topic: "t-file".into(), partition: 0, offset: Some(1) });
    let shown = ConnectorOffsets { offsets: Some(vec![entry.into()]) };
    let json = r#"{"offsets":[{"partition":{"kafka_partition":0,"kafka_topic":"t-file"},"offset":{"kafka_offset":1}}]}"#;
    assert_eq!(to_java_json(&shown).expect("JSON"), json);
    assert!(read(111).to_alter().is_err());
}

#[test]
fn a_create_request_refuses_unknown_members_and_takes_any_case() {
    let read = serde_json::from_str::<CreateConnectorRequest>;
    let request = read(r#"{"name":" x ","config":{"tasks.max":1},"initial_state":"stopped"}"#)
        .expect("valid");
    assert_eq!(request.trimmed_name(), "x");
    assert_eq!(request.initial_state, Some(InitialState::Stopped));
    assert_eq!(request.config, Some(Properties::from([("tasks.max", "1")])));
    assert_eq!(read("{}").expect("valid"), CreateConnectorRequest::default());
    let unknown = read(r#"{"name":"x","bogus":1}"#).expect_err("unknown").to_string();
    assert!(unknown.contains("unknown field `bogus`"), "{unknown}");
    let state = read(r#"{"initial_state":"FOO"}"#).expect_err("no such state").to_string();
    assert!(
        state.contains("initial_state must be one of RUNNING, PAUSED, STOPPED, not \"FOO\""),
        "{state}"
    );
}

#[test]
fn a_patch_keeps_nulls() {
    let patch: PatchMap = serde_json::from_str(r#"{"a":null,"b":"c"}"#).expect("valid");
    assert_eq!(patch.get("a"), Some(&None));
    assert_eq!(to_java_json(&patch).expect("JSON"), r#"{"a":null,"b":"c"}"#);
}

#[test]
fn definitions_are_read_with_order_too() {
    let json = r#"{"name":"n","type":"INT","required":false,"default_value":"1","importance":"LOW","documentation":"d","group":null,"width":"NONE","display_name":"n","dependents":[],"order":3}"#;
    let read: ConfigKeyInfo = serde_json::from_str(json).expect("valid");
    assert_eq!(read.order_in_group, 3);
}
