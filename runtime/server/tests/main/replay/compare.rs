//! Two answers, held against each other.
//!
//! Duty: what differs, each with its place: `status`, a header's name, or a path into the body such as
//! `body/configs/topics/value/errors/0`. Lists whose order means nothing are compared without it, and lists
//! of things with names by name.
//!
//! Masked, provided that they are there at all: ids, versions of plug-ins, times, stack traces, and the texts
//! of documentation, which are ours.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// An answer, ours or Connect's.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Those of [`HEADERS`] that it has.
    pub(super) headers: Map<String, Value>,
    /// A text if it is no JSON; null if it is empty.
    pub(super) body: Value,
}

/// The headers that clients look at.
pub(super) const HEADERS: &[&str] = &["content-type", "location", "allow"];

/// One place at which two answers differ; `None` is absent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) at: String,
    pub(super) recorded: Option<Value>,
    pub(super) ours: Option<Value>,
}

/// Everything that differs.
pub(super) fn compare(recorded: &Answer, ours: &Answer) -> Vec<Found> {
    let mut found = Vec::new();
    differ("status", Some(&json!(recorded.status)), Some(&json!(ours.status)), &mut found);
    for name in HEADERS {
        differ(name, recorded.headers.get(*name), ours.headers.get(*name), &mut found);
    }
    let (recorded, ours) = (masked(recorded.body.clone()), masked(ours.body.clone()));
    differ("body", Some(&recorded), Some(&ours), &mut found);
    found
}

fn differ(at: &str, recorded: Option<&Value>, ours: Option<&Value>, found: &mut Vec<Found>) {
    match (recorded, ours) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => members(at, a, b, found),
        (Some(Value::Array(a)), Some(Value::Array(b))) => match (by_name(a), by_name(b)) {
            (Some((a, a_order)), Some((b, b_order))) if !a.is_empty() && !b.is_empty() => {
                members(at, &a, &b, found);
                let shared = |order: Vec<String>, other: &Map<String, Value>| -> Value {
                    order.into_iter().filter(|name| other.contains_key(name)).collect()
                };
                let (a_order, b_order) = (shared(a_order, &b), shared(b_order, &a));
                differ(&format!("{at}/(order)"), Some(&a_order), Some(&b_order), found);
            }
            _ if a.iter().chain(b).all(Value::is_string) => {
                if a != b {
                    push(at, recorded, ours, found);
                }
            }
            _ => {
                for index in 0..a.len().max(b.len()) {
                    differ(&format!("{at}/{index}"), a.get(index), b.get(index), found);
                }
            }
        },
        (a, b) if a == b => {}
        (a, b) => push(at, a, b, found),
    }
}

fn push(at: &str, recorded: Option<&Value>, ours: Option<&Value>, found: &mut Vec<Found>) {
    found.push(Found { at: at.to_owned(), recorded: recorded.cloned(), ours: ours.cloned() });
}

fn members(at: &str, a: &Map<String, Value>, b: &Map<String, Value>, found: &mut Vec<Found>) {
    let names: BTreeMap<&String, ()> = a.keys().chain(b.keys()).map(|name| (name, ())).collect();
    for name in names.into_keys() {
        differ(&format!("{at}/{name}"), a.get(name), b.get(name), found);
    }
}

/// A list of things with names, by name, and the names in their order.
fn by_name(list: &[Value]) -> Option<(Map<String, Value>, Vec<String>)> {
    let named = |value: &Value| {
        let name = match (&value["definition"]["name"], &value["name"], &value["class"]) {
            (Value::String(name), _, _) | (_, Value::String(name), _) => name.clone(),
            (_, _, Value::String(class)) => format!("{class}({})", value["type"].as_str()?),
            _ => return None,
        };
        Some((name, value.clone()))
    };
    let named: Vec<(String, Value)> = list.iter().map(named).collect::<Option<_>>()?;
    let mut order: Vec<String> = named.iter().map(|(name, _)| name.clone()).collect();
    order.dedup();
    Some((named.into_iter().collect(), order))
}

/// Volatile values replaced, and lists sorted whose order means nothing.
fn masked(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let worker = map.contains_key("kafka_cluster_id");
            let mask = |(name, value): (String, Value)| {
                let text = value.as_str().is_some_and(|text| !text.is_empty());
                let masked = match name.as_str() {
                    "documentation" if text => return None,
                    "kafka_cluster_id" | "commit" if text => json!("…"),
                    "version" if text && !worker => json!("…"),
                    "trace" if text => json!("…"),
                    "last_modified" if value.is_number() => json!(0),
                    "topics" => sorted(value),
                    _ => masked(value),
                };
                Some((name, masked))
            };
            Value::Object(map.into_iter().filter_map(mask).collect())
        }
        Value::Array(list) if list.iter().all(Value::is_string) => sorted(Value::Array(list)),
        Value::Array(list) => list.into_iter().map(masked).collect(),
        other => other,
    }
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Array(mut list) => {
            list.sort_by_key(ToString::to_string);
            Value::Array(list)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(recorded: Value, ours: Value) -> Vec<String> {
        let answer = |body| Answer { status: 200, headers: Map::new(), body };
        compare(&answer(recorded), &answer(ours)).into_iter().map(|found| found.at).collect()
    }

    #[test]
    fn what_differs_is_found_and_what_does_not_is_not() {
        assert!(places(json!(["a", "b"]), json!(["b", "a"])).is_empty());
        assert_eq!(places(json!(["a", "b"]), json!(["b"])), ["body"]);
        assert_eq!(places(json!({"a": 1}), json!({"a": null, "b": 2})), ["body/a", "body/b"]);
        let task = |id: u8| json!({"id": id, "version": "1"});
        assert_eq!(places(json!([task(0), task(1)]), json!([task(0)])), ["body/1"]);
        assert!(
            places(json!({"version": "1", "trace": "x"}), json!({"version": "2", "trace": "y"}))
                .is_empty()
        );
        assert_eq!(places(json!({"trace": "x"}), json!({})), ["body/trace"]);
        assert_eq!(places(json!({}), json!({"documentation": ""})), ["body/documentation"]);
    }

    #[test]
    fn things_with_names_are_compared_by_name_and_their_order_too() {
        let key = |name: &str, order: u8| json!({"definition": {"name": name, "order": order}});
        let recorded = json!({"configs": [key("a", 1), key("b", 2), key("c", 3)]});
        let ours = json!({"configs": [key("c", 3), key("a", 9), key("d", 4)]});
        assert_eq!(
            places(recorded, ours),
            [
                "body/configs/a/definition/order",
                "body/configs/b",
                "body/configs/d",
                "body/configs/(order)"
            ]
        );
    }

    #[test]
    fn status_and_headers_count() {
        let one = Answer { status: 200, headers: Map::new(), body: Value::Null };
        let mut other = Answer { status: 400, ..one.clone() };
        other.headers.insert("allow".to_owned(), json!("GET"));
        let found = compare(&one, &other);
        assert_eq!(found.iter().map(|f| f.at.as_str()).collect::<Vec<_>>(), ["status", "allow"]);
    }
}
