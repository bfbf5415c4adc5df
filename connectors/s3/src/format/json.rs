//! Values as JSON, as Connect's `JsonConverter` without its envelope writes them.
//!
//! Duty: text of JSON values passes through (line breaks between its tokens go); the rest is written
//! by walking the value beside its schema. Decimals are base64 of the unscaled number or numbers;
//! the other logical types are written as the numbers they are. A column that is unchanged is left
//! out.
//!
//! Invariant: what is written has no raw line break.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat};
use memchr::memchr2;
use towpath_sdk::decimal::Decimal;
use towpath_sdk::error::{Error, Result};
use towpath_sdk::schema::{Kind, Schema, logical};
use towpath_sdk::value::{Datum, Struct, Value};

/// How decimals are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, towpath_sdk::config::ConfigEnum)]
#[config(ignore_case)]
pub enum Decimals {
    /// The unscaled number's bytes in base64.
    #[config(name = "BASE64")]
    Base64,
    /// A number.
    #[config(name = "NUMERIC")]
    Numeric,
}

/// Deeper values are refused, as serde_json refuses them when reading.
const MAX_DEPTH: usize = 128;

/// Appends a value.
pub(super) fn append(datum: &Datum, decimals: Decimals, out: &mut Vec<u8>) -> Result<()> {
    if let Value::Json(json) = &datum.value {
        append_document(json.bytes(), out);
        return Ok(());
    }
    Writer { decimals, out }.value(&datum.value, datum.schema.as_deref(), 0)
}

/// Copies a well-formed document without the white space around it, and without the line breaks and
/// the blanks beside them between its tokens.
fn append_document(text: &[u8], out: &mut Vec<u8>) {
    let text = text.trim_ascii();
    if memchr2(b'\n', b'\r', text).is_none() {
        out.extend_from_slice(text);
        return;
    }
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if !byte.is_ascii_whitespace() {
            out.push(byte);
            in_string = byte == b'"';
        }
    }
}

pub(super) fn append_integer(n: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Appends `text` in quotes, escaped.
pub(super) fn append_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            // Writing to a vector can't fail.
            control => drop(write!(out, "\\u{control:04X}")),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// `1970-01-01T00:00:00Z`, with milliseconds where there are some.
pub(super) fn iso_instant(millis: i64) -> Option<String> {
    let at = DateTime::from_timestamp_millis(millis)?;
    let digits = if millis % 1000 == 0 { SecondsFormat::Secs } else { SecondsFormat::Millis };
    Some(at.to_rfc3339_opts(digits, true))
}

struct Writer<'o> {
    decimals: Decimals,
    out: &'o mut Vec<u8>,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, schema: Option<&Schema>, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::data(format!("the value is nested deeper than {MAX_DEPTH} levels")));
        }
        match value {
            Value::Null | Value::Unchanged => match schema.and_then(|s| s.default.as_ref()) {
                Some(default) if value.is_null() && !default.is_null() => {
                    return self.value(default, schema, depth + 1);
                }
                _ => self.out.extend_from_slice(b"null"),
            },
            Value::Boolean(is) => {
                self.out.extend_from_slice(if *is { b"true" } else { b"false" });
            }
            Value::Int8(n) => append_integer((*n).into(), self.out),
            Value::Int16(n) => append_integer((*n).into(), self.out),
            Value::Int32(n) => append_integer((*n).into(), self.out),
            Value::Int64(n) => append_integer(*n, self.out),
            Value::Float32(n) => self.float(f64::from(*n), &mut ryu::Buffer::new(), Some(*n)),
            Value::Float64(n) => self.float(*n, &mut ryu::Buffer::new(), None),
            Value::String(text) => append_text(text, self.out),
            Value::Bytes(bytes) => self.bytes(bytes, schema)?,
            Value::Array(items) => {
                let of = schema.and_then(|s| match &s.kind {
                    Kind::Array(of) => Some(&**of),
                    _ => None,
                });
                self.array(items, of, depth)?;
            }
            Value::Map(entries) => self.map(entries, schema, depth)?,
            Value::Struct(of) => self.structure(of, depth)?,
            Value::Json(json) => append_document(json.bytes(), self.out),
        }
        Ok(())
    }

    /// Numbers that JSON lacks are written as text, as Jackson does.
    fn float(&mut self, n: f64, buffer: &mut ryu::Buffer, single: Option<f32>) {
        let text = match single {
            _ if n.is_nan() => "\"NaN\"",
            _ if n.is_infinite() && n > 0.0 => "\"Infinity\"",
            _ if n.is_infinite() => "\"-Infinity\"",
            Some(single) => buffer.format_finite(single),
            None => buffer.format_finite(n),
        };
        self.out.extend_from_slice(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8], schema: Option<&Schema>) -> Result<()> {
        let decimal = schema.filter(|s| s.name.as_deref() == Some(logical::DECIMAL));
        if let (Some(schema), Decimals::Numeric) = (decimal, self.decimals) {
            let scale = schema.parameters.get("scale").and_then(|scale| scale.parse().ok());
            let scale = scale.ok_or_else(|| Error::data("a decimal's schema lacks its scale"))?;
            let number = Decimal::from_unscaled(bytes, scale)?.to_plain()?;
            self.out.extend_from_slice(number.as_bytes());
            return Ok(());
        }
        self.out.push(b'"');
        let at = self.out.len();
        let length = bytes.len().div_ceil(3) * 4;
        self.out.resize(at + length, 0);
        STANDARD
            .encode_slice(bytes, &mut self.out[at..])
            .map_err(|e| Error::internal("encode bytes in base64").with_source(e))?;
        self.out.push(b'"');
        Ok(())
    }

    fn array(&mut self, items: &[Value], of: Option<&Schema>, depth: usize) -> Result<()> {
        self.out.push(b'[');
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            self.value(item, of, depth + 1)?;
        }
        self.out.push(b']');
        Ok(())
    }

    /// An object where all keys are text, else an array of pairs.
    fn map(
        &mut self,
        entries: &[(Value, Value)],
        schema: Option<&Schema>,
        depth: usize,
    ) -> Result<()> {
        let (keys, values) = match schema.map(|s| &s.kind) {
            Some(Kind::Map(keys, values)) => (Some(&**keys), Some(&**values)),
            _ => (None, None),
        };
        let object = match keys {
            Some(keys) => keys.kind == Kind::String && !keys.optional,
            None => entries.iter().all(|(key, _)| key.as_str().is_some()),
        };
        if object {
            let entries = entries.iter().map(|(k, v)| (k.as_str().unwrap_or_default(), v, values));
            return self.members(entries, depth);
        }
        self.out.push(b'[');
        for (at, (key, value)) in entries.iter().enumerate() {
            self.out.extend_from_slice(if at > 0 { b",[" } else { b"[" });
            self.value(key, keys, depth + 1)?;
            self.out.push(b',');
            self.value(value, values, depth + 1)?;
            self.out.push(b']');
        }
        self.out.push(b']');
        Ok(())
    }

    fn structure(&mut self, of: &Struct, depth: usize) -> Result<()> {
        let fields = of.schema().fields().iter().zip(of.values());
        self.members(fields.map(|(f, value)| (&*f.name, value, Some(&*f.schema))), depth)
    }

    fn members<'v>(
        &mut self,
        members: impl Iterator<Item = (&'v str, &'v Value, Option<&'v Schema>)>,
        depth: usize,
    ) -> Result<()> {
        self.out.push(b'{');
        let mut first = true;
        for (name, value, schema) in members.filter(|(_, value, _)| **value != Value::Unchanged) {
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            append_text(name, self.out);
            self.out.push(b':');
            self.value(value, schema, depth + 1)?;
        }
        self.out.push(b'}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use towpath_sdk::Bytes;
    use towpath_sdk::schema::SchemaRef;
    use towpath_sdk::value::Json;

    use super::*;

    fn text(datum: &Datum, decimals: Decimals) -> String {
        let mut out = Vec::new();
        append(datum, decimals, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn schemaless(value: Value) -> String {
        text(&Datum::schemaless(value), Decimals::Base64)
    }

    fn shared(kind: Kind) -> SchemaRef {
        Arc::new(Schema::new(kind))
    }

    #[test]
    fn primitives() {
        assert_eq!(schemaless(Value::Null), "null");
        assert_eq!(schemaless(Value::Boolean(true)), "true");
        assert_eq!(schemaless(Value::Int8(-8)), "-8");
        assert_eq!(schemaless(Value::Int64(i64::MIN)), "-9223372036854775808");
        assert_eq!(schemaless(Value::Float32(0.1)), "0.1");
        assert_eq!(schemaless(Value::Float64(1.0)), "1.0");
        assert_eq!(schemaless(Value::Float64(f64::NAN)), "\"NaN\"");
        assert_eq!(schemaless(Value::Bytes(Bytes::from_static(b"ab\xff"))), "\"YWL/\"");
        assert_eq!(
            schemaless(Value::String("a\"\\\n\u{1}é\u{2028}".into())),
            "\"a\\\"\\\\\\n\\u0001é\u{2028}\""
        );
    }

    #[test]
    fn maps_and_arrays() {
        let map = Value::Map(vec![
            (Value::String("a".into()), Value::Array(vec![Value::Int32(1), Value::Null])),
            (Value::String("b".into()), Value::Unchanged),
        ]);
        assert_eq!(schemaless(map), "{\"a\":[1,null]}");
        let map =
            Value::Map(vec![(Value::Int32(1), Value::Int32(2)), (Value::Int32(3), Value::Null)]);
        assert_eq!(schemaless(map), "[[1,2],[3,null]]");
    }

    #[test]
    fn structs_with_logical_types_and_defaults() {
        let decimal = Schema::new(Kind::Bytes).named(logical::DECIMAL).parameter("scale", "2");
        let schema = Arc::new(Schema::structure([
            ("d", Arc::new(decimal)),
            ("ts", Arc::new(Schema::new(Kind::Int64).named(logical::TIMESTAMP))),
            ("def", Arc::new(Schema::new(Kind::Int32).optional().with_default(Value::Int32(5)))),
            ("opt", Arc::new(Schema::new(Kind::String).optional())),
            ("toast", shared(Kind::String)),
            ("m", shared(Kind::Map(shared(Kind::Int32), shared(Kind::Int32)))),
        ]));
        let values = vec![
            Value::Bytes(Bytes::from_static(&[0xfb, 0x2e])),
            Value::Int64(7),
            Value::Null,
            Value::Null,
            Value::Unchanged,
            Value::Map(vec![]),
        ];
        let value = Value::Struct(Struct::new(Arc::clone(&schema), values).unwrap());
        let datum = Datum::new(schema, value);
        assert_eq!(
            text(&datum, Decimals::Base64),
            r#"{"d":"+y4=","ts":7,"def":5,"opt":null,"m":[]}"#
        );
        assert!(text(&datum, Decimals::Numeric).starts_with(r#"{"d":-12.34,"ts""#));
    }

    proptest! {
        #[test]
        fn documents_stay_the_same_documents(
            document in prop::collection::vec(("[a-z\n\\\\\"]{0,5}", -9..9_i32), 0..5),
            pretty: bool,
        ) {
            let document: serde_json::Value =
                document.into_iter().map(|(k, v)| (k, serde_json::json!([v, {"x": " \n"}]))).collect();
            let source = if pretty {
                serde_json::to_string_pretty(&document).unwrap().replace('\n', "\r\n")
            } else {
                document.to_string()
            };
            let json = Json::new(Bytes::from(source.clone())).unwrap();
            let written = schemaless(Value::Json(json));
            prop_assert!(!written.contains(['\n', '\r']));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), document);
            if !pretty {
                prop_assert_eq!(written, source);
            }
        }

        #[test]
        fn written_text_reads_back(text: String) {
            let written = schemaless(Value::String(text.clone().into()));
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
        }
    }
}
