//! `hstore`.
//!
//! Entries come in the server's order. Debezium's order is that of a Java hash map, which means
//! nothing.

use std::sync::Arc;

use bytes::Bytes;
use towpath_sdk::schema::{Kind, Schema};
use towpath_sdk::value::Value;
use towpath_sdk::{Error, Result, Text};

use super::form::{Form, named, utf8};
use super::modes::{HstoreMode, Placeholder};

/// The mapping of `hstore`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hstore(pub(super) HstoreMode);

impl Form for Hstore {
    fn schema(&self) -> Schema {
        match self.0 {
            HstoreMode::Json => named(Kind::String, "io.debezium.data.Json"),
            HstoreMode::Map => Schema::new(Kind::Map(
                Arc::new(Schema::new(Kind::String)),
                Arc::new(Schema::new(Kind::String).optional()),
            )),
        }
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        let text = utf8(text)?;
        let entries = entries(&text).ok_or_else(|| Error::data("not an hstore"))?;
        Ok(match self.0 {
            HstoreMode::Json => Value::String(json(&entries).into()),
            HstoreMode::Map => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        (Value::String(key), value.map_or(Value::Null, Value::String))
                    })
                    .collect(),
            ),
        })
    }

    fn unavailable(&self, placeholder: &Placeholder) -> Value {
        let text = placeholder.text();
        match self.0 {
            HstoreMode::Json => Value::String(json(&[(text.clone(), Some(text.clone()))]).into()),
            HstoreMode::Map => {
                let text = Value::String(text.clone());
                Value::Map(vec![(text.clone(), text)])
            }
        }
    }

    fn zero(&self) -> Value {
        self.decode(&Bytes::new()).unwrap_or_default()
    }
}

type Entry = (Text, Option<Text>);

/// The entries of `"k1"=>"v1", "k2"=>NULL`.
fn entries(text: &Text) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut rest = &**text;
    while !rest.is_empty() {
        if !entries.is_empty() {
            rest = rest.strip_prefix(", ")?;
        }
        let key;
        (key, rest) = string(text, rest)?;
        rest = rest.strip_prefix("=>")?;
        if let Some(after) = rest.strip_prefix("NULL") {
            rest = after;
            entries.push((key, None));
        } else {
            let value;
            (value, rest) = string(text, rest)?;
            entries.push((key, Some(value)));
        }
    }
    Some(entries)
}

/// The string at the beginning of `rest`, a part of `text`, and what follows. Without escapes it is a
/// slice.
fn string<'t>(text: &Text, rest: &'t str) -> Option<(Text, &'t str)> {
    let body = rest.strip_prefix('"')?;
    let end = body.find(['"', '\\'])?;
    let (plain, after) = body.split_at_checked(end)?;
    if let Some(after) = after.strip_prefix('"') {
        return Some((text.slice_ref(plain), after));
    }
    let mut string = plain.to_owned();
    let mut chars = after.chars();
    loop {
        match chars.next()? {
            '"' => return Some((string.into(), chars.as_str())),
            '\\' => string.push(chars.next()?),
            c => string.push(c),
        }
    }
}

/// A JSON object as Jackson writes it.
fn json(entries: &[Entry]) -> String {
    let mut out = String::from("{");
    for (at, (key, value)) in entries.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        json_string(&mut out, key);
        out.push(':');
        match value {
            Some(value) => json_string(&mut out, value),
            None => out.push_str("null"),
        }
    }
    out.push('}');
    out
}

fn json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0C' => out.push_str("\\f"),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(mode: HstoreMode, text: &str) -> Option<Value> {
        Hstore(mode).decode(&Bytes::copy_from_slice(text.as_bytes())).ok()
    }

    #[test]
    fn entries_are_a_map_or_an_object() {
        let string = |text: &'static str| Value::String(text.into());
        for (text, json, map) in [
            (
                r#""k1"=>"v1", "k2"=>NULL"#,
                r#"{"k1":"v1","k2":null}"#,
                vec![(string("k1"), string("v1")), (string("k2"), Value::Null)],
            ),
            ("", "{}", vec![]),
            (
                r#""a\"b"=>"c\\d", ""=>"NULL""#,
                r#"{"a\"b":"c\\d","":"NULL"}"#,
                vec![(string("a\"b"), string("c\\d")), (string(""), string("NULL"))],
            ),
        ] {
            assert_eq!(decode(HstoreMode::Json, text), Some(string(json)), "{text}");
            assert_eq!(decode(HstoreMode::Map, text), Some(Value::Map(map)), "{text}");
        }
        for wrong in [
            "k=>v",
            r#""k"=>v"#,
            r#""k""#,
            r#""k"=>"v","#,
            r#""k"=>"v"#,
            r#""k"=>"\"#,
            r#", "k"=>"v""#,
        ] {
            assert_eq!(decode(HstoreMode::Map, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_not_known_is_one_entry() {
        let placeholder = Placeholder::parse("?").unwrap();
        assert_eq!(
            Hstore(HstoreMode::Json).unavailable(&placeholder).as_str(),
            Some(r#"{"?":"?"}"#)
        );
        let map = Hstore(HstoreMode::Map).unavailable(&placeholder);
        assert_eq!(map, Value::Map(vec![(Value::String("?".into()), Value::String("?".into()))]));
    }

    proptest! {
        #[test]
        fn any_entries_are_read_back(entries in prop::collection::vec((".*", prop::option::of(".*")), 0..5)) {
            let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let text: Vec<_> = entries.iter().map(|(key, value)| {
                let value = value.as_ref().map_or("NULL".to_owned(), |value| quote(value));
                format!("{}=>{value}", quote(key))
            }).collect();
            let text = Bytes::from(text.join(", "));
            let read = super::entries(&Text::try_from(text.clone()).unwrap()).unwrap();
            let read: Vec<_> = read.iter().map(|(k, v)| (k.to_string(), v.as_ref().map(ToString::to_string))).collect();
            prop_assert_eq!(&read, &entries);

            let json = Hstore(HstoreMode::Json).decode(&text).unwrap();
            let json: serde_json::Value = serde_json::from_str(json.as_str().unwrap()).unwrap();
            for (key, value) in entries.into_iter().rev() {
                prop_assert!(json.get(&key).is_some(), "{json} {key} {value:?}");
            }
        }
    }
}
