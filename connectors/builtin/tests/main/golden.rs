//! Compares with `golden/connect.jsonl`, which genuine Kafka Connect wrote (`golden/Golden.java`).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::Value as JsonValue;
use towpath_sdk::Error;
use towpath_sdk::config::{FieldErrors, Properties};
use towpath_sdk::converter::{Converter, Part};
use towpath_sdk::decimal::{DECIMAL, Decimal, SCALE};
use towpath_sdk::java_text::{hash_map_order, java_hash, write_java_text};
use towpath_sdk::plugin::{BuildFor, Registry};
use towpath_sdk::record::Record;
use towpath_sdk::schema::{Kind, Schema};
use towpath_sdk::value::{Datum, Value};

const CONNECT: &str = include_str!("golden/connect.jsonl");

#[test]
fn everything_is_as_in_kafka_connect() {
    let mut registry = Registry::default();
    towpath_builtin::register(&mut registry);
    let mut wrong = Vec::new();
    let mut compared = 0;
    for line in CONNECT.lines() {
        let case: JsonValue = serde_json::from_str(line).unwrap();
        let read = read(&registry, &case);
        compared += 1;
        let shown = read.as_ref().map(show_datum).map_err(Failure::clone);
        if let Err(why) = agree(&case, shown) {
            wrong.push(format!("{case}\n    {why}"));
        }
        let (Ok(datum), Some(steps)) = (read, case["then"].as_array()) else { continue };
        for step in steps {
            compared += 1;
            if let Err(why) = agree(step, then(&registry, step, &datum)) {
                let case = ["with", "config", "text", "hex"].map(|key| &case[key]);
                wrong.push(format!("{case:?}\n  {step}\n    {why}"));
            }
        }
    }
    assert!(compared > 2000, "only {compared} cases");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[derive(Debug, Clone)]
enum Failure {
    Config,
    Data { text: String, class: String, cause: bool },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let cause = std::error::Error::source(&error).is_some();
        Self::Data { text: error.to_string(), class: error.class().to_owned(), cause }
    }
}

impl From<FieldErrors> for Failure {
    fn from(_: FieldErrors) -> Self {
        Self::Config
    }
}

fn agree(case: &JsonValue, ours: Result<String, Failure>) -> Result<(), String> {
    let theirs = match case.get("hex").filter(|_| case.get("then").is_none()) {
        Some(hex) if case.get("result").is_none() && case.get("error").is_none() => hex.as_str(),
        _ => case["result"].as_str(),
    };
    match (case["error"].as_str(), ours) {
        (None, Ok(ours)) if same(theirs.unwrap_or("null"), &ours) => Ok(()),
        (None, Ok(ours)) => Err(format!("ours: {ours}")),
        (None, Err(ours)) => Err(format!("ours: {ours:?}")),
        (Some(_), Ok(ours)) => Err(format!("ours: {ours}")),
        (Some(_), Err(Failure::Config)) => Ok(()),
        (Some(theirs), Err(Failure::Data { text, class, cause })) => {
            if theirs == text && case["class"] == *class && case["cause"] == cause {
                Ok(())
            } else {
                Err(format!("ours: {text} {class} {cause}"))
            }
        }
    }
}

/// Equal but for the differences on purpose that the modules' heads name.
fn same(theirs: &str, ours: &str) -> bool {
    if theirs == ours {
        return true;
    }
    // Java shows the address of bytes; ours is base64.
    if let Some((before, after)) = theirs.split_once("[B@") {
        let after = after.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        return ours.starts_with(before) && ours.ends_with(after);
    }
    // An array or map without element types has no schema.
    if let Some((schema, value)) = theirs.split_once("> ")
        && (schema.starts_with("array<") || schema.starts_with("map<"))
        && schema.ends_with('-')
    {
        return ours == format!("- {value}");
    }
    // Schemaless JSON keeps its order and spelling.
    let parse = |json: &str| serde_json::from_str::<JsonValue>(json).ok();
    match (parse(theirs), parse(ours)) {
        (Some(mut theirs), Some(ours)) => {
            if let Some(schema) = theirs.get_mut("schema")
                && (schema["items"].is_null() && schema["values"].is_null())
                && ours["schema"].is_null()
            {
                *schema = JsonValue::Null;
            }
            same_json(&theirs, &ours)
        }
        _ => false,
    }
}

fn same_json(theirs: &JsonValue, ours: &JsonValue) -> bool {
    match (theirs, ours) {
        (JsonValue::Number(a), JsonValue::Number(b)) => a.as_f64() == b.as_f64(),
        (JsonValue::Array(a), JsonValue::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b))
        }
        (JsonValue::Object(a), JsonValue::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, a)| b.get(k).is_some_and(|b| same_json(a, b)))
        }
        (a, b) => a == b,
    }
}

fn properties(case: &JsonValue) -> Properties {
    serde_json::from_value(case.get("config").cloned().unwrap_or_else(|| serde_json::json!({})))
        .unwrap()
}

fn converter(registry: &Registry, case: &JsonValue) -> Result<Arc<dyn Converter>, Failure> {
    let name = case["with"].as_str().unwrap();
    let (plugin, part) = match registry.find_converter(name) {
        Some(plugin) => (plugin, Part::Value),
        None => (registry.find_header_converter(name).unwrap(), Part::Header),
    };
    Ok((plugin.build)(&properties(case), BuildFor::Convert(part))?)
}

fn read(registry: &Registry, case: &JsonValue) -> Result<Datum, Failure> {
    let bytes = match (case["text"].as_str(), case["hex"].as_str()) {
        (Some(text), _) => Some(Bytes::from(text.to_owned())),
        (_, Some(hex)) => Some(unhex(hex)),
        _ => None,
    };
    Ok(converter(registry, case)?.decode("t", bytes)?)
}

fn then(registry: &Registry, step: &JsonValue, datum: &Datum) -> Result<String, Failure> {
    let name = step["with"].as_str().unwrap();
    if let Some(plugin) = registry.find_transform(name) {
        let transform = (plugin.build)(&properties(step), BuildFor::Chain)?;
        let key = name.ends_with("$Key");
        let mut record = Record::new("t", if key { Datum::null() } else { datum.clone() });
        if key {
            record.key = datum.clone();
        }
        transform.apply(&mut record)?;
        return Ok(show_datum(if key { &record.key } else { &record.value }));
    }
    let mut scratch = BytesMut::new();
    let bytes = converter(registry, step)?.encode("t", datum, &mut scratch)?;
    assert!(scratch.is_empty());
    Ok(match bytes {
        None => "null".to_owned(),
        Some(bytes) => String::from_utf8(bytes.to_vec())
            .unwrap_or_else(|_| bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
    })
}

fn unhex(hex: &str) -> Bytes {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn show_datum(datum: &Datum) -> String {
    let schema = datum.schema.as_deref();
    format!("{} {}", schema.map_or("-".to_owned(), show_schema), show(&datum.value, schema))
}

fn show_schema(schema: &Schema) -> String {
    let mut out = String::from(if schema.optional { "?" } else { "" });
    out += &schema.kind.connect_name().to_ascii_lowercase();
    match &schema.kind {
        Kind::Array(of) => out += &format!("<{}>", show_schema(of)),
        Kind::Map(k, v) => out += &format!("<{},{}>", show_schema(k), show_schema(v)),
        Kind::Struct(fields) => {
            let fields = fields.iter().map(|f| format!("{}:{}", f.name, show_schema(&f.schema)));
            out += &format!("<{}>", fields.collect::<Vec<_>>().join(","));
        }
        _ => {}
    }
    if let Some(name) = &schema.name {
        out += &format!("({name})");
    }
    if let Some(version) = schema.version {
        out += &format!("v{version}");
    }
    if !schema.parameters.is_empty() {
        let all = schema.parameters.iter().map(|(key, value)| format!("{key}={value}"));
        out += &format!("{{{}}}", all.collect::<Vec<_>>().join(", "));
    }
    if let Some(doc) = &schema.doc {
        out += &format!("\"{doc}\"");
    }
    if let Some(default) = &schema.default {
        out += &format!("={}", show(default, Some(schema)));
    }
    out
}

fn show(value: &Value, schema: Option<&Schema>) -> String {
    let name = schema.and_then(|schema| schema.name.as_deref()).unwrap_or_default();
    let logical = name.strip_prefix("org.apache.kafka.connect.data.").unwrap_or_default();
    let list = |items: Vec<String>, brackets: [&str; 2]| {
        format!("{}{}{}", brackets[0], items.join(","), brackets[1])
    };
    match (value, schema.map(|schema| &schema.kind)) {
        (Value::Json(json), _) => show_json(&json.decode()),
        (Value::String(text), _) => serde_json::to_string(&**text).unwrap(),
        (Value::Array(items), kind) => {
            let of = kind.and_then(|kind| match kind {
                Kind::Array(of) => Some(&**of),
                _ => None,
            });
            list(items.iter().map(|item| show(item, of)).collect(), ["[", "]"])
        }
        (Value::Map(entries), kind) => {
            let of = kind.and_then(|kind| match kind {
                Kind::Map(k, v) => Some((&**k, &**v)),
                _ => None,
            });
            let of = of.unzip();
            let entry = |(k, v): &(Value, Value)| format!("{}:{}", show(k, of.0), show(v, of.1));
            list(entries.iter().map(entry).collect(), ["{", "}"])
        }
        (Value::Struct(fields), _) => {
            let both = fields.schema().fields().iter().zip(fields.values());
            let field = both.map(|(f, v)| format!("{}:{}", f.name, show(v, Some(&f.schema))));
            list(field.collect(), ["(", ")"])
        }
        (Value::Bytes(bytes), _) if name == DECIMAL => {
            let scale = schema.and_then(|schema| schema.parameters.get(SCALE)).unwrap();
            format!("{}m", Decimal::from_unscaled(bytes, scale.parse().unwrap()).unwrap())
        }
        (Value::Bytes(bytes), _) => {
            format!("0x{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        (Value::Int32(days), _) if logical == "Date" => {
            format!("{}t", i64::from(*days) * 86_400_000)
        }
        (Value::Int32(_) | Value::Int64(_), _) if logical.starts_with("Time") => {
            format!("{}t", value.as_i64().unwrap())
        }
        (value, _) => {
            let mut text = String::new();
            write_java_text(&mut text, value, None);
            text + match value {
                Value::Int8(_) => "b",
                Value::Int16(_) => "s",
                Value::Int32(_) => "i",
                Value::Int64(_) => "l",
                Value::Float32(_) => "f",
                Value::Float64(_) => "d",
                _ => "",
            }
        }
    }
}

/// Connect holds JSON objects in hash maps.
fn show_json(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(show_json).collect::<Vec<_>>().join(","))
        }
        Value::Map(entries) => {
            let order = hash_map_order(entries.iter().map(|(key, _)| java_hash(key)));
            let entry =
                |at: usize| format!("{}:{}", show_json(&entries[at].0), show_json(&entries[at].1));
            format!("{{{}}}", order.into_iter().map(entry).collect::<Vec<_>>().join(","))
        }
        other => show(other, None),
    }
}
