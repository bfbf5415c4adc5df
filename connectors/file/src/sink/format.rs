//! How a record becomes a line.
//!
//! Invariant: a JSON line has no raw line break in it. A record that can't be written leaves the
//! buffer as it was.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta};
use towpath_sdk::decimal::{DECIMAL, Decimal, SCALE};
use towpath_sdk::schema::{Kind, Schema, logical};
use towpath_sdk::value::{Datum, Struct, Value};
use towpath_sdk::{Error, Result};

use super::config::Format;

/// Values nest no deeper than this, as in most readers of JSON.
const MAX_DEPTH: usize = 128;

/// Appends the line of `datum`.
pub(super) fn append(out: &mut Vec<u8>, format: Format, datum: &Datum) -> Result<()> {
    let before = out.len();
    let outcome = match (format, &datum.value) {
        (Format::Text, Value::Null) => Ok(()),
        (Format::Text, Value::String(text)) => {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
        (Format::Text, Value::Bytes(bytes)) if decimal_scale(datum.schema.as_deref()).is_none() => {
            out.extend_from_slice(bytes);
            Ok(())
        }
        (_, value) => json(out, value, datum.schema.as_deref(), 0),
    };
    match outcome {
        Ok(()) => out.push(b'\n'),
        Err(_) => out.truncate(before),
    }
    outcome
}

fn json(out: &mut Vec<u8>, value: &Value, schema: Option<&Schema>, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::data(format!("the value nests more than {MAX_DEPTH} levels deep")));
    }
    match value {
        Value::Null | Value::Unchanged => out.extend_from_slice(b"null"),
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        Value::Int8(_) | Value::Int16(_) | Value::Int32(_) | Value::Int64(_) => {
            integer(out, value.as_i64().unwrap_or_default(), schema);
        }
        Value::Float32(n) => return float(out, *n, n.is_finite()),
        Value::Float64(n) => return float(out, *n, n.is_finite()),
        Value::String(text) => string(out, text),
        Value::Bytes(bytes) => return self::bytes(out, bytes, schema),
        Value::Array(items) => {
            let element = match schema.map(|s| &s.kind) {
                Some(Kind::Array(element)) => Some(&**element),
                _ => None,
            };
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                json(out, item, element, depth + 1)?;
            }
            out.push(b']');
        }
        Value::Map(entries) => return map(out, entries, schema, depth),
        Value::Struct(structure) => return self::structure(out, structure, depth),
        Value::Json(json) => document(out, json.bytes()),
    }
    Ok(())
}

/// A document as it is, without line breaks between its tokens.
fn document(out: &mut Vec<u8>, text: &[u8]) {
    if memchr::memchr2(b'\n', b'\r', text).is_none() {
        out.extend_from_slice(text);
        return;
    }
    // In JSON text, raw line breaks stand between tokens only.
    let breaks = |b: &u8| matches!(b, b'\n' | b'\r');
    out.extend(text.iter().copied().map(|b| if breaks(&b) { b' ' } else { b }));
}

fn string(out: &mut Vec<u8>, text: &str) {
    // Writing text to a vector can't fail.
    let wrote = serde_json::to_writer(&mut *out, text);
    debug_assert!(wrote.is_ok());
}

fn integer(out: &mut Vec<u8>, n: i64, schema: Option<&Schema>) {
    let epoch = NaiveDate::default();
    let text = match schema.and_then(|s| s.name.as_deref()) {
        Some(logical::TIMESTAMP) => DateTime::from_timestamp_millis(n)
            .map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true)),
        Some(logical::DATE) => TimeDelta::try_days(n)
            .and_then(|days| epoch.checked_add_signed(days))
            .map(|date| date.to_string()),
        Some(logical::TIME) => DateTime::from_timestamp_millis(n)
            .filter(|time| time.date_naive() == epoch)
            .map(|time| time.format("%H:%M:%S%.3f").to_string()),
        _ => None,
    };
    match text {
        Some(text) => string(out, &text),
        // A plain number, or one that no calendar has.
        None => out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes()),
    }
}

fn float(out: &mut Vec<u8>, n: impl ryu::Float, finite: bool) -> Result<()> {
    if !finite {
        return Err(Error::data("JSON has no number for NaN or infinity"));
    }
    out.extend_from_slice(ryu::Buffer::new().format_finite(n).as_bytes());
    Ok(())
}

fn decimal_scale(schema: Option<&Schema>) -> Option<i32> {
    let schema = schema.filter(|s| s.name.as_deref() == Some(DECIMAL))?;
    schema.parameters.get(SCALE)?.parse().ok()
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8], schema: Option<&Schema>) -> Result<()> {
    match decimal_scale(schema) {
        Some(scale) => {
            out.extend_from_slice(Decimal::from_unscaled(bytes, scale)?.to_string().as_bytes());
        }
        None => {
            out.push(b'"');
            out.extend_from_slice(
                base64::engine::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes).as_bytes(),
            );
            out.push(b'"');
        }
    }
    Ok(())
}

fn map(
    out: &mut Vec<u8>,
    entries: &[(Value, Value)],
    schema: Option<&Schema>,
    depth: usize,
) -> Result<()> {
    let of = match schema.map(|s| &s.kind) {
        Some(Kind::Map(_, of)) => Some(&**of),
        _ => None,
    };
    out.push(b'{');
    let mut first = true;
    for (key, value) in entries.iter().filter(|(_, value)| *value != Value::Unchanged) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        string(out, &name(key)?);
        out.push(b':');
        json(out, value, of, depth + 1)?;
    }
    out.push(b'}');
    Ok(())
}

/// A map's key as the name of a member.
fn name(key: &Value) -> Result<Cow<'_, str>> {
    match key {
        Value::String(text) => Ok(Cow::Borrowed(text)),
        Value::Boolean(b) => Ok(b.to_string().into()),
        key => match key.as_i64() {
            Some(n) => Ok(n.to_string().into()),
            None => {
                Err(Error::data("a map's key must be text, a whole number or a boolean in JSON"))
            }
        },
    }
}

/// A field that is unchanged is not known, so it is left out.
fn structure(out: &mut Vec<u8>, structure: &Struct, depth: usize) -> Result<()> {
    out.push(b'{');
    let mut first = true;
    let fields = structure.schema().fields().iter().zip(structure.values());
    for (field, value) in fields.filter(|(_, value)| **value != Value::Unchanged) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        string(out, &field.name);
        out.push(b':');
        json(out, value, Some(&field.schema), depth + 1)?;
    }
    out.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use towpath_sdk::value::Json;

    use super::*;

    fn line(format: Format, datum: &Datum) -> Result<String> {
        let mut out = b"before".to_vec();
        let outcome = append(&mut out, format, datum);
        let line = String::from_utf8_lossy(&out).strip_prefix("before").unwrap().to_owned();
        assert!(outcome.is_ok() || line.is_empty());
        outcome.map(|()| line)
    }

    fn check(value: Value, json: &str, text: &str) {
        let datum = Datum::schemaless(value);
        assert_eq!(line(Format::Json, &datum).unwrap(), format!("{json}\n"));
        assert_eq!(line(Format::Text, &datum).unwrap(), format!("{text}\n"));
    }

    #[test]
    fn values_without_schema() {
        check(Value::Null, "null", "");
        check(Value::String("a \"b\"\nc".into()), r#""a \"b\"\nc""#, "a \"b\"\nc");
        check(Value::Bytes(Bytes::from_static(b"ab\x01")), r#""YWIB""#, "ab\u{1}");
        check(Value::Int64(-7), "-7", "-7");
        check(Value::Float64(1.5), "1.5", "1.5");
        check(Value::Float32(0.1), "0.1", "0.1");
        let entries = vec![
            (Value::Int32(1), Value::Array(vec![Value::Boolean(true), Value::Null])),
            (Value::String("x".into()), Value::Unchanged),
        ];
        check(Value::Map(entries), r#"{"1":[true,null]}"#, r#"{"1":[true,null]}"#);
        let pretty = Json::new(Bytes::from_static(b"{\n \"a\":\r\n [1]}")).unwrap();
        check(Value::Json(pretty), "{  \"a\":   [1]}", "{  \"a\":   [1]}");
    }

    #[test]
    fn structs_with_logical_types() {
        let named = |kind, name: &str| Arc::new(Schema::new(kind).named(name));
        let decimal = Schema::new(Kind::Bytes).named(DECIMAL).parameter(SCALE, "2");
        let schema = Arc::new(Schema::structure([
            ("price", Arc::new(decimal)),
            ("at", named(Kind::Int64, logical::TIMESTAMP)),
            ("day", named(Kind::Int32, logical::DATE)),
            ("time", named(Kind::Int32, logical::TIME)),
            ("never", named(Kind::Int64, logical::TIMESTAMP)),
            ("kept", Arc::new(Schema::new(Kind::String))),
        ]));
        let values = vec![
            Value::Bytes(Bytes::from_static(&[0x30, 0x39])),
            Value::Int64(1_700_000_000_123),
            Value::Int32(19_675),
            Value::Int32(3_723_004),
            Value::Int64(i64::MAX),
            Value::Unchanged,
        ];
        let value = Value::Struct(Struct::new(Arc::clone(&schema), values).unwrap());
        assert_eq!(
            line(Format::Json, &Datum::new(schema, value)).unwrap(),
            "{\"price\":123.45,\"at\":\"2023-11-14T22:13:20.123Z\",\"day\":\"2023-11-14\",\
             \"time\":\"01:02:03.004\",\"never\":9223372036854775807}\n"
        );
    }

    #[test]
    fn what_json_can_not_hold_is_refused() {
        let deep = (0..200).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        let key = Value::Map(vec![(Value::Null, Value::Null)]);
        for value in [Value::Float64(f64::NAN), Value::Float32(f32::INFINITY), deep, key] {
            let refused = line(Format::Json, &Datum::schemaless(value)).unwrap_err();
            assert_eq!(refused.kind(), towpath_sdk::ErrorKind::Data);
        }
    }
}
