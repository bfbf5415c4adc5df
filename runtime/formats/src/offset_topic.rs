//! The records of an offsets topic (compacted): where a source connector is.
//!
//! A key is the JSON text `["<connector>",{<source partition>}]`, a value a JSON object. Kafka compacts
//! by the key's **bytes**, and Connect finds a partition by them too, so the same source partition
//! written with its members in another order is another key to both.
//!
//! Invariants: [`OffsetKey`] keeps the bytes it was read from and gives them back, so that a new offset
//! or a tombstone hits the very record that Connect wrote. Equality, order and hash of keys go by a
//! canonical form (members sorted, numbers as Java prints them): a task that builds its partition
//! with the members in another order finds its offset. Where a topic holds several spellings of one
//! partition, the last one read is the one to write next, and all must be tombstoned to forget it.
//!
//! Deliberately absent: the table that such a topic replays into.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::{Error, Kind, shown};
use crate::to_java_json;

/// A source partition or a source offset: member names to scalars.
pub type OffsetMap = Map<String, Value>;

/// Which connector's which source partition: the key of a record.
#[derive(Clone, Debug)]
pub struct OffsetKey {
    connector: Arc<str>,
    partition: Arc<OffsetMap>,
    canonical: Arc<str>,
    bytes: Arc<[u8]>,
}

/// A source offset, with the text it was read from. Equal if the text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceOffset {
    json: Arc<str>,
}

/// One record of an offsets topic. An offset of `None` is a tombstone: start from the beginning.
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetRecord {
    /// The connector and its source partition.
    pub key: OffsetKey,
    /// The source offset.
    pub offset: Option<SourceOffset>,
}

impl OffsetKey {
    /// The key that Connect would write for this partition, with its members in the given order.
    pub fn new(connector: &str, partition: OffsetMap) -> Self {
        let name = to_java_json(connector).unwrap_or_default();
        let bytes = format!("[{name},{}]", text(&partition)).into_bytes();
        Self::build(connector, partition, bytes)
    }

    /// Reads a record's key.
    ///
    /// # Errors
    /// If it isn't a JSON array of a text and an object.
    pub fn parse(key: &[u8]) -> Result<Self, Error> {
        let fail = |kind| Error::new(shown(key), kind);
        let (connector, partition): (String, Option<OffsetMap>) =
            serde_json::from_slice(key).map_err(|error| fail(Kind::Json(error)))?;
        let partition =
            partition.ok_or_else(|| fail(Kind::Member("partition must not be null")))?;
        Ok(Self::build(&connector, partition, key.to_vec()))
    }

    fn build(connector: &str, partition: OffsetMap, bytes: Vec<u8>) -> Self {
        let canonical = text(&sorted(&partition)).into();
        Self {
            connector: connector.into(),
            partition: Arc::new(partition),
            canonical,
            bytes: bytes.into(),
        }
    }

    /// The connector's name.
    pub fn connector(&self) -> &str {
        &self.connector
    }

    /// The source partition's members, in the order in which they were written.
    pub fn partition(&self) -> &OffsetMap {
        &self.partition
    }

    /// The partition as JSON with its members sorted: equal for equal partitions.
    pub fn canonical_partition(&self) -> &str {
        &self.canonical
    }

    /// The record's key, byte for byte as it was read, or as Connect would write it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn identity(&self) -> (&str, &str) {
        (&self.connector, &self.canonical)
    }
}

impl PartialEq for OffsetKey {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for OffsetKey {}

impl Hash for OffsetKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl PartialOrd for OffsetKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OffsetKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl SourceOffset {
    /// The offset with these members.
    pub fn new(members: &OffsetMap) -> Self {
        Self { json: text(members).into() }
    }

    /// Reads a record's value; JSON `null` is no offset.
    fn parse(value: &[u8]) -> Result<Option<Self>, Kind> {
        let raw: &RawValue = serde_json::from_slice(value).map_err(Kind::Json)?;
        if raw.get() == "null" {
            return Ok(None);
        }
        let _object: OffsetMap = serde_json::from_str(raw.get()).map_err(Kind::Json)?;
        Ok(Some(Self { json: raw.get().into() }))
    }

    /// The offset's members.
    pub fn members(&self) -> OffsetMap {
        // Parsed once already, when this was made.
        serde_json::from_str(&self.json).unwrap_or_default()
    }

    /// The offset as JSON, as it was read.
    pub fn as_json(&self) -> &str {
        &self.json
    }
}

impl OffsetRecord {
    /// Reads one record.
    ///
    /// # Errors
    /// If the key isn't a JSON array of a text and an object, or the value isn't an object or null.
    pub fn parse(key: &[u8], value: Option<&[u8]>) -> Result<Self, Error> {
        let offset = value
            .map(SourceOffset::parse)
            .transpose()
            .map_err(|kind| Error::new(shown(key), kind))?;
        Ok(Self { key: OffsetKey::parse(key)?, offset: offset.flatten() })
    }

    /// The record as key and value, ready to produce; a value of `None` is a tombstone.
    pub fn to_key_value(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let value = self.offset.as_ref().map(|offset| offset.json.as_bytes().to_vec());
        (self.key.as_bytes().to_vec(), value)
    }
}

/// Which member of a partition or an offset Connect would refuse, because it holds more than a scalar.
///
/// Connect checks this when a connector hands in an offset, not when it reads the topic.
pub fn first_nested_member(map: &OffsetMap) -> Option<&str> {
    map.iter()
        .find(|(_, value)| value.is_object() || value.is_array())
        .map(|(name, _)| name.as_str())
}

/// JSON maps have text keys and finite numbers only, so writing them can't fail.
fn text(map: &OffsetMap) -> String {
    to_java_json(map).unwrap_or_default()
}

fn sorted(map: &OffsetMap) -> OffsetMap {
    let mut members: Vec<_> =
        map.iter().map(|(name, value)| (name.clone(), sorted_value(value))).collect();
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    members.into_iter().collect()
}

/// Depth is bounded by the parser, which refuses more than 128 levels.
fn sorted_value(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(sorted(map)),
        Value::Array(items) => Value::Array(items.iter().map(sorted_value).collect()),
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(json: &str) -> OffsetMap {
        serde_json::from_str(json).expect("an object")
    }

    /// Keys written by Kafka Connect 4.3.1's JsonConverter.
    #[test]
    fn new_keys_have_connects_bytes() {
        for (connector, partition, expect) in [
            ("conn", r#"{"k":1}"#, r#"["conn",{"k":1}]"#),
            ("conn", r#"{"k":9223372036854775807}"#, r#"["conn",{"k":9223372036854775807}]"#),
            ("conn", r#"{"k":1e7}"#, r#"["conn",{"k":1.0E7}]"#),
            ("conn", r#"{"k":null, "b":true}"#, r#"["conn",{"k":null,"b":true}]"#),
            (
                "co\"nn\u{1}\u{1f}\u{7f}é",
                r#"{"k":"😀"}"#,
                "[\"co\\\"nn\\u0001\\u001F\u{7f}é\",{\"k\":\"\\uD83D\\uDE00\"}]",
            ),
        ] {
            let key = OffsetKey::new(connector, map(partition));
            assert_eq!(std::str::from_utf8(key.as_bytes()).expect("text"), expect);
            assert_eq!(OffsetKey::parse(key.as_bytes()).expect("readable"), key);
        }
    }

    #[test]
    fn a_key_keeps_its_bytes_and_equals_other_spellings() {
        let strange = br#" [ "c" , { "b" : 1.0e0, "a":"\u00e9" } ]"#;
        let key = OffsetKey::parse(strange).expect("readable");
        assert_eq!(key.as_bytes(), strange);
        assert_eq!(key, OffsetKey::new("c", map(r#"{"a":"é","b":1.0}"#)));
        assert_eq!(key.canonical_partition(), r#"{"a":"é","b":1.0}"#);
        assert_ne!(key, OffsetKey::new("c", map(r#"{"a":"é","b":1}"#)), "a long is not a double");
        assert_ne!(key, OffsetKey::new("d", map(r#"{"a":"é","b":1.0}"#)));
    }

    #[test]
    fn values_are_kept_as_text() {
        let value = br#"{ "position" : 17, "big": 123456789012345678901234567890 }"#;
        let record = OffsetRecord::parse(br#"["c",{"f":"x"}]"#, Some(value)).expect("readable");
        assert_eq!(record.to_key_value().1.as_deref(), Some(value.as_slice()));
        assert_eq!(record.offset.expect("an offset").members()["position"], 17);
    }

    #[test]
    fn null_is_a_tombstone() {
        for value in [None, Some(b"null".as_slice())] {
            let record = OffsetRecord::parse(br#"["c",{"f":"x"}]"#, value).expect("readable");
            assert_eq!(record.to_key_value(), (br#"["c",{"f":"x"}]"#.to_vec(), None));
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        for key in [
            "",
            "{}",
            "[]",
            r#"["c"]"#,
            r#"["c",null]"#,
            r#"["c",1]"#,
            r#"[1,{}]"#,
            r#"["c",{},1]"#,
            r#"["c",{}"#,
        ] {
            assert!(OffsetKey::parse(key.as_bytes()).is_err(), "{key}");
        }
        for value in ["", "[]", "1", "{", "{} x"] {
            assert!(
                OffsetRecord::parse(br#"["c",{}]"#, Some(value.as_bytes())).is_err(),
                "{value}"
            );
        }
        let deep = "[".repeat(100_000);
        assert!(OffsetKey::parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn nested_members_are_found() {
        assert_eq!(first_nested_member(&map(r#"{"a":1,"b":{"c":1}}"#)), Some("b"));
        assert_eq!(first_nested_member(&map(r#"{"a":1,"b":null}"#)), None);
    }

    fn scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e300..1e300_f64).prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            connector in ".{0,8}",
            partition in prop::collection::vec((".{0,6}", scalar()), 0..5),
            offset in prop::collection::vec((".{0,6}", scalar()), 0..5),
        ) {
            let partition: OffsetMap = partition.into_iter().collect();
            let offset: OffsetMap = offset.into_iter().collect();
            let key = OffsetKey::new(&connector, partition.clone());
            let record = OffsetRecord { key, offset: Some(SourceOffset::new(&offset)) };
            let (key, value) = record.to_key_value();
            let read = OffsetRecord::parse(&key, value.as_deref()).expect("readable");
            prop_assert_eq!(read.to_key_value(), (key, value));
            prop_assert_eq!(read.key.partition(), &partition);
            prop_assert_eq!(read.offset.as_ref().map(SourceOffset::members), Some(offset));
            let reversed = partition.into_iter().rev().collect();
            prop_assert_eq!(OffsetKey::new(&connector, reversed), read.key);
        }

        #[test]
        fn any_bytes_give_a_key_with_these_bytes_or_an_error(key in any::<Vec<u8>>()) {
            if let Ok(read) = OffsetKey::parse(&key) {
                prop_assert_eq!(read.as_bytes(), &key);
            }
        }
    }
}
