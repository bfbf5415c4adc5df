//! Source partitions and source offsets.
//!
//! Duty: say where in the outside system a source is, in Kafka Connect's shape: flat maps of
//! primitive values, so that they can be read and altered over REST and taken over from Connect's
//! offset topic. Entries keep their order, since Connect identifies a partition by its bytes.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value as JsonValue};

use crate::error::{Error, Result};

/// A flat map of primitive JSON values.
#[derive(Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct OffsetMap(Map<String, JsonValue>);

impl OffsetMap {
    /// The map of `entries`.
    pub fn of<K: Into<String>, V: Into<JsonValue>>(
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self(entries.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }

    /// Takes a JSON object of primitive values.
    ///
    /// # Errors
    /// If a value is an array or an object.
    pub fn from_json(map: Map<String, JsonValue>) -> Result<Self> {
        match map.iter().find(|(_, v)| v.is_array() || v.is_object()) {
            Some((key, _)) => Err(Error::data(format!(
                "an offset may hold only primitive values, but '{key}' is an array or an object"
            ))),
            None => Ok(Self(map)),
        }
    }

    /// The JSON object.
    #[must_use]
    pub fn as_json(&self) -> &Map<String, JsonValue> {
        &self.0
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&JsonValue> {
        self.0.get(key)
    }

    /// The integer at `key`. Connect accepts numbers as text, so this does too.
    #[must_use]
    pub fn get_i64(&self, key: &str) -> Option<i64> {
        match self.0.get(key)? {
            JsonValue::Number(n) => n.as_i64(),
            JsonValue::String(s) => s.trim().parse().ok(),
            _ => None,
        }
    }

    /// The text at `key`.
    #[must_use]
    pub fn get_str(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }
}

impl fmt::Debug for OffsetMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.0).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for OffsetMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Map::deserialize(deserializer)?;
        Self::from_json(map).map_err(serde::de::Error::custom)
    }
}

/// A part of the outside system that has an offset of its own: a file, a server, a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourcePartition(pub Arc<OffsetMap>);

impl SourcePartition {
    /// The partition of `entries`.
    pub fn of<K: Into<String>, V: Into<JsonValue>>(
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self(Arc::new(OffsetMap::of(entries)))
    }
}

impl std::ops::Deref for SourcePartition {
    type Target = OffsetMap;
    fn deref(&self) -> &OffsetMap {
        &self.0
    }
}

/// How far a source partition was read.
pub type SourceOffset = OffsetMap;

/// The stored offsets of one connector when a task starts or rewinds.
#[derive(Debug, Clone, Default)]
pub struct StoredOffsets(Vec<(SourcePartition, SourceOffset)>);

impl StoredOffsets {
    /// These offsets.
    #[must_use]
    pub fn new(offsets: Vec<(SourcePartition, SourceOffset)>) -> Self {
        Self(offsets)
    }

    /// The offset stored for `partition`. The order of a partition's entries does not matter here.
    #[must_use]
    pub fn get(&self, partition: &SourcePartition) -> Option<&SourceOffset> {
        self.0.iter().find(|(p, _)| p == partition).map(|(_, o)| o)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &(SourcePartition, SourceOffset)> {
        self.0.iter()
    }

    /// Sets the offset of `partition`; `None` forgets it.
    pub fn set(&mut self, partition: SourcePartition, offset: Option<SourceOffset>) {
        self.0.retain(|(p, _)| *p != partition);
        if let Some(offset) = offset {
            self.0.push((partition, offset));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_primitives_and_order_is_kept() {
        let text = r#"{"z":1,"a":"x","n":null,"b":true}"#;
        let map: OffsetMap = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&map).unwrap(), text);
        assert!(serde_json::from_str::<OffsetMap>(r#"{"a":[1]}"#).is_err());
        assert_eq!(OffsetMap::of([("p", "17")]).get_i64("p"), Some(17));
    }

    #[test]
    fn partitions_are_equal_whatever_the_order() {
        let mut stored = StoredOffsets::default();
        let one: SourcePartition = serde_json::from_str(r#"{"a":1,"b":2}"#).unwrap();
        let two: SourcePartition = serde_json::from_str(r#"{"b":2,"a":1}"#).unwrap();
        stored.set(one, Some(OffsetMap::of([("o", 1)])));
        stored.set(two.clone(), Some(OffsetMap::of([("o", 2)])));
        assert_eq!(stored.iter().count(), 1);
        assert_eq!(stored.get(&two).and_then(|o| o.get_i64("o")), Some(2));
    }
}
