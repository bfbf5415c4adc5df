//! What Java's `String.valueOf` makes of values, and how Java decodes UTF-8.
//!
//! Duty: give the file sink's class name the output that it has in Kafka Connect. Sources of the
//! facts: the documentation of `java.util.AbstractMap.toString`, `Double.toString`,
//! `BigDecimal.toString` and `Date.toString`, the iteration order of `java.util.HashMap`, and
//! `org.apache.kafka.connect.data.Struct.toString`.
//!
//! Two deliberate differences: bytes are written as they are, where Java writes an identity such as
//! `[B@1b6d3586` that nobody can use; and dates are shown in UTC, where Java shows them in its
//! machine's time zone.

mod hash_order;
mod number;
mod utf8;

use towpath_sdk::schema::{Kind, Schema, logical};
use towpath_sdk::value::{Datum, Struct, Value};

pub(crate) use utf8::decode_utf8;

/// Appends what `String.valueOf` gives for `datum`.
pub(crate) fn write_datum(out: &mut Vec<u8>, datum: &Datum) {
    write_value(out, &datum.value, datum.schema.as_deref());
}

fn write_value(out: &mut Vec<u8>, value: &Value, schema: Option<&Schema>) {
    match value {
        Value::Null | Value::Unchanged => out.extend_from_slice(b"null"),
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        Value::Int8(_) | Value::Int16(_) | Value::Int32(_) | Value::Int64(_) => {
            write_integer(out, value.as_i64().unwrap_or_default(), schema);
        }
        Value::Float32(n) => number::write_float(out, *n),
        Value::Float64(n) => number::write_double(out, *n),
        Value::String(text) => out.extend_from_slice(text.as_bytes()),
        Value::Bytes(bytes) => match decimal_scale(schema) {
            Some(scale) => number::write_decimal(out, bytes, scale),
            None => out.extend_from_slice(bytes),
        },
        Value::Array(items) => write_array(out, items, schema),
        Value::Map(entries) => write_map(out, entries, schema),
        Value::Struct(structure) => write_struct(out, structure),
        Value::Json(json) => write_value(out, &json.decode(), None),
    }
}

fn write_integer(out: &mut Vec<u8>, n: i64, schema: Option<&Schema>) {
    const DAY_MS: i64 = 86_400_000;
    match schema.and_then(|s| s.name.as_deref()) {
        Some(logical::TIMESTAMP | logical::TIME) => number::write_date(out, n),
        Some(logical::DATE) => number::write_date(out, n.saturating_mul(DAY_MS)),
        _ => number::write_display(out, n),
    }
}

fn decimal_scale(schema: Option<&Schema>) -> Option<i32> {
    let schema = schema.filter(|s| s.name.as_deref() == Some(logical::DECIMAL))?;
    schema.parameters.get("scale")?.parse().ok()
}

fn write_array(out: &mut Vec<u8>, items: &[Value], schema: Option<&Schema>) {
    let element = match schema.map(|s| &s.kind) {
        Some(Kind::Array(element)) => Some(&**element),
        _ => None,
    };
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        write_value(out, item, element);
    }
    out.push(b']');
}

fn write_map(out: &mut Vec<u8>, entries: &[(Value, Value)], schema: Option<&Schema>) {
    let (key_schema, value_schema) = match schema.map(|s| &s.kind) {
        Some(Kind::Map(key, value)) => (Some(&**key), Some(&**value)),
        _ => (None, None),
    };
    out.push(b'{');
    for (i, (key, value)) in hash_order::in_hash_order(entries).into_iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        write_value(out, key, key_schema);
        out.push(b'=');
        write_value(out, value, value_schema);
    }
    out.push(b'}');
}

/// Fields that are null are left out, and there is no space after the comma.
fn write_struct(out: &mut Vec<u8>, structure: &Struct) {
    out.extend_from_slice(b"Struct{");
    let mut first = true;
    for (field, value) in structure.schema().fields().iter().zip(structure.values()) {
        if matches!(value, Value::Null | Value::Unchanged) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        out.extend_from_slice(field.name.as_bytes());
        out.push(b'=');
        write_value(out, value, Some(&field.schema));
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use towpath_sdk::value::Json;

    use super::*;

    fn check(datum: &Datum, expect: &str) {
        let mut out = Vec::new();
        write_datum(&mut out, datum);
        assert_eq!(String::from_utf8_lossy(&out), expect);
    }

    fn json(text: &'static str) -> Datum {
        Datum::schemaless(Value::Json(Json::new(Bytes::from_static(text.as_bytes())).unwrap()))
    }

    #[test]
    fn scalars() {
        check(&Datum::null(), "null");
        check(&Datum::schemaless(Value::String("a\nb".into())), "a\nb");
        check(&Datum::schemaless(Value::Boolean(true)), "true");
        check(&Datum::schemaless(Value::Int8(-8)), "-8");
        check(&Datum::schemaless(Value::Float64(5.0)), "5.0");
        check(&Datum::schemaless(Value::Bytes(Bytes::from_static(b"raw"))), "raw");
    }

    #[test]
    fn json_becomes_maps_and_lists() {
        check(&json(r#"{"a":1,"b":"x"}"#), "{a=1, b=x}");
        check(&json(r#"[1,2.5,null,{"k":[]},"t"]"#), "[1, 2.5, null, {k=[]}, t]");
        check(&json("{}"), "{}");
        // The order of a HashMap, not that of the text.
        check(&json(r#"{"user":4,"zeta":1,"id":3,"alpha":2}"#), "{zeta=1, alpha=2, id=3, user=4}");
    }

    #[test]
    fn structs_leave_nulls_out() {
        let named = |kind, name: &str| Arc::new(Schema::new(kind).named(name));
        let schema = Arc::new(Schema::structure([
            ("a", Arc::new(Schema::new(Kind::Int32))),
            ("gone", Arc::new(Schema::new(Kind::String).optional())),
            (
                "d",
                Arc::new(Schema::new(Kind::Bytes).named(logical::DECIMAL).parameter("scale", "2")),
            ),
            ("t", named(Kind::Int64, logical::TIMESTAMP)),
            ("day", named(Kind::Int32, logical::DATE)),
        ]));
        let values = vec![
            Value::Int32(1),
            Value::Null,
            Value::Bytes(Bytes::from_static(&[0x30, 0x39])),
            Value::Int64(1_700_000_000_123),
            Value::Int32(1),
        ];
        let value = Struct::new(Arc::clone(&schema), values).unwrap();
        check(
            &Datum::new(schema, Value::Struct(value)),
            "Struct{a=1,d=123.45,t=Tue Nov 14 22:13:20 UTC 2023,day=Fri Jan 02 00:00:00 UTC 1970}",
        );
    }
}
