//! Compares with `golden/debezium.jsonl`, which genuine Debezium 3.7 wrote (`golden/Golden.java`).

use serde_json::Value as JsonValue;
use towpath_sdk::config::Properties;
use towpath_sdk::plugin::BuildFor;

use crate::records::{Outcome, Records, Shown};

const DEBEZIUM: &str = include_str!("golden/debezium.jsonl");

#[test]
fn everything_is_as_in_debezium() {
    let records = Records::new();
    let mut lines = DEBEZIUM.lines();
    let schemas: Vec<String> = serde_json::from_str(lines.next().unwrap()).unwrap();
    let (mut wrong, mut compared, mut on_purpose) = (Vec::new(), 0, 0);
    for line in lines {
        let group: JsonValue = serde_json::from_str(line).unwrap();
        let config: Properties = serde_json::from_value(group["config"].clone()).unwrap();
        let plugin = records.transform(group["with"].as_str().unwrap());
        let make = |config: &Properties| (plugin.build)(config, BuildFor::Chain);
        if group.get("refused").is_some() {
            compared += 1;
            if make(&config).is_ok() {
                wrong.push(format!("{group}\n    ours: is not refused"));
            }
            continue;
        }
        // What one record leaves in the caches must not show in another.
        let shared = make(&config).ok();
        for theirs in group["records"].as_array().unwrap() {
            compared += 1;
            let of = theirs["of"].as_str().unwrap();
            let ours = match (make(&config), &shared) {
                (Ok(fresh), Some(shared)) => {
                    let ours = records.apply(&*fresh, of);
                    for _ in 0..2 {
                        assert_eq!(records.apply(&**shared, of), ours, "{of} {config:?}");
                    }
                    ours
                }
                _ => Outcome::Refused,
            };
            let theirs = read(theirs, &schemas);
            if agree(&theirs, &ours) {
                continue;
            }
            let unexpanded = || {
                let mut config = config.clone();
                config.insert("table.expand.json.payload", "false");
                records.apply(&*make(&config).ok().unwrap(), of)
            };
            if differs_on_purpose(&config, &theirs, &ours, unexpanded) {
                on_purpose += 1;
                continue;
            }
            wrong.push(format!("{of} {config:?}\n    theirs: {theirs:?}\n    ours:   {ours:?}"));
        }
    }
    assert!(compared > 1400, "only {compared} cases");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(on_purpose, 30, "differences on purpose");
}

fn read(theirs: &JsonValue, schemas: &[String]) -> Outcome {
    if theirs.get("dropped").is_some() {
        return Outcome::Dropped;
    }
    if let Some(text) = theirs["error"].as_str() {
        let class = theirs["class"].as_str().unwrap().to_owned();
        return Outcome::Error { class, text: text.to_owned() };
    }
    let raw = |raw: &JsonValue| match (raw.as_array(), raw.as_str()) {
        (Some(both), _) => {
            let schema = &schemas[usize::try_from(both[0].as_u64().unwrap()).unwrap()];
            let payload = both[1].as_str().unwrap();
            Some(format!("{{\"schema\":{schema},\"payload\":{payload}}}"))
        }
        (_, text) => text.map(str::to_owned),
    };
    let headers = theirs["headers"].as_array().unwrap().iter();
    Outcome::Record(Box::new(Shown {
        topic: theirs["topic"].as_str().unwrap().to_owned(),
        partition: theirs["partition"].as_i64().map(|n| n.try_into().unwrap()),
        timestamp: theirs["timestamp"].as_i64(),
        key: raw(&theirs["key"]),
        value: raw(&theirs["value"]),
        headers: headers.map(|h| (h[0].as_str().unwrap().to_owned(), raw(&h[1]))).collect(),
    }))
}

/// The same, byte by byte. Errors have texts of ours, and a class of ours where Debezium stumbles.
fn agree(theirs: &Outcome, ours: &Outcome) -> bool {
    match (theirs, ours) {
        (Outcome::Error { class: theirs, .. }, Outcome::Error { class: ours, .. }) => {
            let stumbles = ["NullPointer", "ClassCast", "SchemaBuilder"];
            theirs == ours || stumbles.iter().any(|stumble| theirs.contains(stumble))
        }
        (theirs, ours) => theirs == ours,
    }
}

/// The differences that the modules' heads name.
fn differs_on_purpose(
    config: &Properties,
    theirs: &Outcome,
    ours: &Outcome,
    unexpanded: impl Fn() -> Outcome,
) -> bool {
    match (theirs, ours) {
        // What loses fields in Debezium.
        (_, Outcome::Refused) if config.contains_key("field.name.adjustment.mode") => true,
        // A configuration that fails at each record.
        (Outcome::Error { class, .. }, Outcome::Refused) => {
            config.contains_key("route.topic.replacement")
                && (class.contains("IllegalArgument") || class.contains("IndexOutOfBounds"))
                || config.contains_key("table.fields.additional.placement")
        }
        // A payload that can't be expanded and gets a schema that it does not have.
        (Outcome::Error { text, .. }, ours)
            if text.starts_with("Invalid type for") && text.ends_with("java.lang.String") =>
        {
            *ours == unexpanded()
        }
        (Outcome::Record(theirs), ours) if theirs.value.as_deref() == Some(NO_SCHEMA) => {
            *ours == unexpanded()
        }
        // Nothing can be left out of a null.
        (Outcome::Error { class, .. }, Outcome::Record(ours)) => {
            class.contains("NullPointer")
                && config.get("delete.tombstone.handling.mode") == Some("delete-to-tombstone")
                && ours.value.is_none()
        }
        _ => false,
    }
}

/// What Debezium makes of an empty array in a text: a text without a schema.
const NO_SCHEMA: &str = r#"{"schema":null,"payload":"[]"}"#;
