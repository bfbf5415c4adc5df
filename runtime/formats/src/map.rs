//! The flat text map that every config is.
//!
//! Invariant: the order of insertion is kept, so that what was read is written in the same order;
//! two maps are equal if they hold the same entries in any order. `Debug` shows keys only: a value
//! may be a password.

use std::fmt;
use std::ops::{Deref, DerefMut};

use indexmap::IndexMap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A config: names to texts, in the order in which they were set.
///
/// As JSON it is an object. Numbers and booleans are taken as the text they are written as (Connect
/// does so too), a `null` member is left out, an object or an array is refused.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(IndexMap<String, String>);

/// A change to a config: a text sets the property, `null` removes it (KIP-477).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PatchMap(IndexMap<String, Option<String>>);

impl Properties {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `key`.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Sets `key`, keeping its place if it was there.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), value.into());
    }

    /// Removes `key`, keeping the order of the others.
    pub fn unset(&mut self, key: &str) -> Option<String> {
        self.0.shift_remove(key)
    }

    /// The entries whose key starts with `prefix`, without that prefix.
    pub fn with_prefix(&self, prefix: &str) -> Self {
        let entry =
            |(k, v): (&String, &String)| Some((k.strip_prefix(prefix)?.to_owned(), v.clone()));
        self.0.iter().filter_map(entry).collect()
    }

    /// The inner map.
    pub fn into_inner(self) -> IndexMap<String, String> {
        self.0
    }
}

impl PatchMap {
    /// `config` with this change made.
    pub fn apply(&self, config: &Properties) -> Properties {
        let mut patched = config.clone();
        for (key, value) in &self.0 {
            match value {
                Some(value) => patched.set(key.clone(), value.clone()),
                None => drop(patched.unset(key)),
            }
        }
        patched
    }
}

impl Deref for Properties {
    type Target = IndexMap<String, String>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Properties {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Deref for PatchMap {
    type Target = IndexMap<String, Option<String>>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<IndexMap<String, String>> for Properties {
    fn from(map: IndexMap<String, String>) -> Self {
        Self(map)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Properties {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

impl<K: Into<String>, V: Into<String>, const N: usize> From<[(K, V); N]> for Properties {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl FromIterator<(String, Option<String>)> for PatchMap {
    fn from_iter<I: IntoIterator<Item = (String, Option<String>)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl IntoIterator for Properties {
    type Item = (String, String);
    type IntoIter = indexmap::map::IntoIter<String, String>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Properties {
    type Item = (&'a String, &'a String);
    type IntoIter = indexmap::map::Iter<'a, String, String>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Properties of ")?;
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Debug for PatchMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PatchMap of ")?;
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let PatchMap(map) = PatchMap::deserialize(deserializer)?;
        Ok(Self(map.into_iter().filter_map(|(k, v)| Some((k, v?))).collect()))
    }
}

impl Serialize for PatchMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PatchMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = IndexMap::<String, Box<RawValue>>::deserialize(deserializer)?;
        let text = |(key, value): (String, Box<RawValue>)| match text_of(&value) {
            Some(text) => Ok((key, text)),
            None => Err(D::Error::custom(format!(
                "property {key:?} must be a string, not {}",
                shape(&value)
            ))),
        };
        let entries = raw.into_iter().map(text).collect::<Result<_, _>>()?;
        Ok(Self(entries))
    }
}

/// `None` if the value isn't a scalar; `Some(None)` if it is null.
pub(crate) fn text_of(raw: &RawValue) -> Option<Option<String>> {
    let json = raw.get();
    match json.as_bytes().first()? {
        b'{' | b'[' => None,
        b'"' => serde_json::from_str(json).ok().map(Some),
        b'n' => Some(None),
        _ => Some(Some(json.to_owned())),
    }
}

fn shape(raw: &RawValue) -> &'static str {
    if raw.get().starts_with('{') { "an object" } else { "an array" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_become_the_text_they_are_written_as() {
        let json = r#"{"b":"x\n","n":1e3,"t":true,"z":null,"f":1.50}"#;
        let map: Properties = serde_json::from_str(json).expect("valid");
        let entries: Vec<_> = map.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(entries, [("b", "x\n"), ("n", "1e3"), ("t", "true"), ("f", "1.50")]);
    }

    #[test]
    fn nested_values_are_refused_with_their_key() {
        let error = serde_json::from_str::<Properties>(r#"{"a":{"b":1}}"#).expect_err("nested");
        assert!(
            error.to_string().contains("property \"a\" must be a string, not an object"),
            "{error}"
        );
    }

    #[test]
    fn a_patch_sets_and_removes() {
        let patch: PatchMap = serde_json::from_str(r#"{"a":null,"b":2,"c":"x"}"#).expect("valid");
        let patched = patch.apply(&Properties::from([("a", "1"), ("b", "1"), ("d", "1")]));
        assert_eq!(patched, Properties::from([("b", "2"), ("d", "1"), ("c", "x")]));
        let order: Vec<_> = patched.keys().collect();
        assert_eq!(order, ["b", "d", "c"]);
    }

    #[test]
    fn debug_shows_no_value() {
        let shown = format!("{:?}", Properties::from([("password", "hunter2")]));
        assert_eq!(shown, r#"Properties of {"password"}"#);
    }
}
