//! Java's view of values: the classes that Kafka Connect's error messages name, and what its maps do
//! with equal keys.

use std::collections::HashMap;

use towpath_sdk::decimal::DECIMAL;
use towpath_sdk::java_text::java_hash;
use towpath_sdk::schema::Schema;
use towpath_sdk::value::Value;

pub(crate) const DATE: &str = "org.apache.kafka.connect.data.Date";
pub(crate) const TIME: &str = "org.apache.kafka.connect.data.Time";
pub(crate) const TIMESTAMP: &str = "org.apache.kafka.connect.data.Timestamp";

/// The class of the object that Connect would hold for `value`.
pub(crate) fn class_of(value: &Value, schema: Option<&Schema>) -> &'static str {
    match (value, schema.and_then(|schema| schema.name.as_deref())) {
        (Value::Bytes(_), Some(DECIMAL)) => "java.math.BigDecimal",
        (Value::Int32(_), Some(DATE | TIME)) | (Value::Int64(_), Some(TIMESTAMP)) => {
            "java.util.Date"
        }
        (Value::Null, _) => "null",
        (Value::Unchanged | Value::String(_), _) => "java.lang.String",
        (Value::Boolean(_), _) => "java.lang.Boolean",
        (Value::Int8(_), _) => "java.lang.Byte",
        (Value::Int16(_), _) => "java.lang.Short",
        (Value::Int32(_), _) => "java.lang.Integer",
        (Value::Int64(_), _) => "java.lang.Long",
        (Value::Float32(_), _) => "java.lang.Float",
        (Value::Float64(_), _) => "java.lang.Double",
        (Value::Bytes(_), _) => "[B",
        (Value::Array(_), _) => "java.util.ArrayList",
        (Value::Map(_), _) => "java.util.HashMap",
        (Value::Struct(_), _) => "org.apache.kafka.connect.data.Struct",
        (Value::Json(json), _) if json.is_object() => "java.util.HashMap",
        (Value::Json(_), _) => "java.util.ArrayList",
    }
}

/// Of entries with one key the last counts, in the place of the first.
pub(crate) fn last_of_each(entries: impl Iterator<Item = (Value, Value)>) -> Vec<(Value, Value)> {
    let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
    let mut kept: Vec<(Value, Value)> = Vec::new();
    for (key, value) in entries {
        let same_hash = places.entry(java_hash(&key)).or_default();
        match same_hash.iter().find(|place| kept[**place].0 == key) {
            Some(place) => kept[*place].1 = value,
            None => {
                same_hash.push(kept.len());
                kept.push((key, value));
            }
        }
    }
    kept
}
