//! Values as the text that is guessed back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use towpath_sdk::decimal::DECIMAL;
use towpath_sdk::java_text::{UNAVAILABLE, hash_map_order, java_hash, write_java_text};
use towpath_sdk::schema::{Kind, Schema};
use towpath_sdk::value::{Datum, Value};

use super::temporal;
use crate::java::{DATE, TIME, TIMESTAMP};

/// Text that needs no writing.
pub(super) fn plain(datum: &Datum) -> Option<Bytes> {
    match &datum.value {
        Value::String(text) => Some(text.as_bytes().clone()),
        _ => None,
    }
}

/// Appends `value`. Inside of a container texts are quoted.
pub(super) fn value(out: &mut String, value: &Value, schema: Option<&Schema>, embedded: bool) {
    let name = schema.and_then(|schema| schema.name.as_deref());
    match (value, name) {
        (Value::String(text), _) => push_text(out, text, embedded),
        (Value::Unchanged, _) => push_text(out, UNAVAILABLE, embedded),
        (Value::Bytes(bytes), name) if name != Some(DECIMAL) => {
            push_text(out, &STANDARD.encode(bytes), embedded);
        }
        (Value::Int32(days), Some(DATE)) => {
            temporal::write(out, i64::from(*days) * temporal::DAY_MS)
        }
        (Value::Int32(ms), Some(TIME)) => temporal::write(out, i64::from(*ms)),
        (Value::Int64(ms), Some(TIMESTAMP)) => temporal::write(out, *ms),
        (Value::Array(items), _) => {
            let of = match schema.map(|schema| &schema.kind) {
                Some(Kind::Array(of)) => Some(&**of),
                _ => None,
            };
            push_all(out, ['[', ']'], items, |out, item| self::value(out, item, of, true));
        }
        (Value::Map(entries), _) => {
            let (keys, values) = match schema.map(|schema| &schema.kind) {
                Some(Kind::Map(keys, values)) => (Some(&**keys), Some(&**values)),
                _ => (None, None),
            };
            push_all(out, ['{', '}'], entries, |out, (key, entry)| {
                self::value(out, key, keys, true);
                out.push(':');
                self::value(out, entry, values, true);
            });
        }
        (Value::Struct(fields), _) => {
            let both = fields.schema().fields().iter().zip(fields.values());
            push_all(out, ['{', '}'], both, |out, (field, value)| {
                push_text(out, &field.name, true);
                out.push(':');
                let value = match &field.schema.default {
                    Some(default) if value.is_null() => default,
                    _ => value,
                };
                self::value(out, value, Some(&field.schema), true);
            });
        }
        (Value::Json(json), _) => push_json(out, &json.decode()),
        (number, _) => write_java_text(out, number, schema),
    }
}

fn push_text(out: &mut String, text: &str, embedded: bool) {
    if embedded {
        out.push('"');
        out.push_str(&text.replace('\\', "\\\\").replace('"', "\\\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}

fn push_all<T>(
    out: &mut String,
    brackets: [char; 2],
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut String, T),
) {
    out.push(brackets[0]);
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push(out, item);
    }
    out.push(brackets[1]);
}

/// A decoded JSON document, whose objects Connect would have put into hash maps.
fn push_json(out: &mut String, json: &Value) {
    match json {
        Value::Array(items) => push_all(out, ['[', ']'], items, push_json),
        Value::Map(entries) => {
            let order = hash_map_order(entries.iter().map(|(key, _)| java_hash(key)));
            push_all(out, ['{', '}'], order, |out, at| {
                let (key, entry) = &entries[at];
                push_json(out, key);
                out.push(':');
                push_json(out, entry);
            });
        }
        scalar => value(out, scalar, None, true),
    }
}
