//! The flat string map that every configuration arrives as.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// A flat map of configuration keys to text, in the order in which the keys were first inserted.
///
/// `Debug` shows the keys only, because any value may be a secret. Two maps are equal if they hold
/// the same keys and values in whatever order.
///
/// Deserializing takes numbers and booleans as their text, as Kafka Connect does, and leaves out
/// keys whose value is `null`.
///
/// ```
/// use towpath_sdk::config::Properties;
///
/// let properties = Properties::from([("topic", "orders"), ("retry.max", "3"), ("retry.ms", "50")]);
/// assert_eq!(properties.get("topic"), Some("orders"));
/// assert_eq!(properties.with_prefix("retry.").keys().collect::<Vec<_>>(), ["max", "ms"]);
/// assert_eq!(format!("{properties:?}"), r#"{"topic", "retry.max", "retry.ms"}"#);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(IndexMap<String, String>);

impl Properties {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `key`, untrimmed.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Whether `key` is set, be it to the empty string.
    pub fn contains_key(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Sets `key` and returns its former value. A key that was there keeps its place.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<String>) -> Option<String> {
        self.0.insert(key.into(), value.into())
    }

    /// Takes `key` out; the others keep their order.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.0.shift_remove(key)
    }

    /// The entries whose key starts with `prefix`, with the prefix stripped. A key that is the
    /// prefix itself is not among them.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> Properties {
        self.iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value)))
            .filter(|(key, _)| !key.is_empty())
            .collect()
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Properties {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut properties = Self::new();
        properties.extend(entries);
        properties
    }
}

impl<K: Into<String>, V: Into<String>> Extend<(K, V)> for Properties {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        self.0.extend(entries.into_iter().map(|(key, value)| (key.into(), value.into())));
    }
}

impl<K: Into<String>, V: Into<String>, const N: usize> From<[(K, V); N]> for Properties {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl IntoIterator for Properties {
    type Item = (String, String);
    type IntoIter = indexmap::map::IntoIter<String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(&self.0)
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PropertiesVisitor)
    }
}

struct PropertiesVisitor;

impl<'de> Visitor<'de> for PropertiesVisitor {
    type Value = Properties;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object whose values are strings, numbers or booleans")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Properties, A::Error> {
        let mut properties = Properties::new();
        while let Some((key, text)) = entries.next_entry::<String, Text>()? {
            if let Some(text) = text.0 {
                properties.insert(key, text);
            }
        }
        Ok(properties)
    }
}

/// One value of the map: text, or a scalar that stands for its text.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl TextVisitor {
    #[expect(clippy::unnecessary_wraps, reason = "the shape that every visit method returns")]
    fn text<E>(text: impl ToString) -> Result<Text, E> {
        Ok(Text(Some(text.to_string())))
    }
}

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number or a boolean")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Self::text(text)
    }

    fn visit_string<E>(self, text: String) -> Result<Text, E> {
        Ok(Text(Some(text)))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Text, E> {
        Self::text(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Text, E> {
        Self::text(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Text, E> {
        Self::text(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Text, E> {
        if value.is_finite() {
            Self::text(super::value::java_double(value))
        } else {
            Err(E::custom("a number in a configuration must be finite"))
        }
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_none<E>(self) -> Result<Text, E> {
        Ok(Text(None))
    }
}

#[cfg(test)]
mod tests {
    use super::Properties;

    #[test]
    fn keeps_the_order_of_insertion() {
        let mut properties = Properties::from([("b", "1"), ("a", "2"), ("c", "3")]);
        assert_eq!(properties.insert("b", "4").as_deref(), Some("1"));
        assert_eq!(properties.remove("a").as_deref(), Some("2"));
        assert_eq!(properties.iter().collect::<Vec<_>>(), [("b", "4"), ("c", "3")]);
    }

    #[test]
    fn strips_the_prefix_of_what_it_selects() {
        let properties =
            Properties::from([("a.", "0"), ("a.x", "1"), ("b.a.y", "2"), ("a.b.c", "3")]);
        let selected = properties.with_prefix("a.");
        assert_eq!(selected.iter().collect::<Vec<_>>(), [("x", "1"), ("b.c", "3")]);
    }

    #[test]
    fn reads_scalars_as_text_and_leaves_out_null() {
        let json = r#"{"z":"text","n":3,"f":1.0,"e":true,"gone":null,"big":18446744073709551615}"#;
        let properties: Properties = serde_json::from_str(json).unwrap();
        assert_eq!(
            serde_json::to_string(&properties).unwrap(),
            r#"{"z":"text","n":"3","f":"1.0","e":"true","big":"18446744073709551615"}"#
        );
        let nested = serde_json::from_str::<Properties>(r#"{"a":{"b":"c"}}"#).unwrap_err();
        assert!(nested.to_string().contains("a string, a number or a boolean"), "{nested}");
    }

    #[test]
    fn debug_never_shows_a_value() {
        let shown = format!("{:?}", Properties::from([("user", "ann"), ("password", "hunter2")]));
        assert_eq!(shown, r#"{"user", "password"}"#);
    }
}
