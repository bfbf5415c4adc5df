//! Predicates: questions that guard transforms.

use std::sync::Arc;

use towpath_sdk::Result;
use towpath_sdk::config::{ConfigValue, ConnectorConfig, FieldErrors, FieldType, Properties};
use towpath_sdk::plugin::{
    BuildFor, PluginInfo, PluginName, PredicatePlugin, Registry, definition_of, validate_as,
};
use towpath_sdk::record::Record;
use towpath_sdk::transform::Predicate;

use crate::pattern::Pattern;

/// Is true for records with a header of a given name.
#[derive(Debug, ConnectorConfig)]
pub struct HasHeaderKey {
    /// The name of the header.
    #[config(non_empty)]
    pub name: String,
}

/// Is true for tombstones: records whose value is null. It has nothing to configure.
#[derive(Debug, ConnectorConfig)]
pub struct RecordIsTombstone {}

/// Is true for records whose topic has a name that matches a pattern.
#[derive(Debug, ConnectorConfig)]
pub struct TopicNameMatches {
    /// A regular expression in Java's syntax. All of the topic's name must match it.
    pub pattern: TopicPattern,
}

/// The pattern of [`TopicNameMatches`].
#[derive(Debug)]
pub struct TopicPattern(Pattern);

impl ConfigValue for TopicPattern {
    const KIND: FieldType = FieldType::String;

    fn parse_value(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("String must be non-empty".to_owned());
        }
        Pattern::new(text).map(Self)
    }

    fn valid_values() -> Option<String> {
        Some("non-empty string,valid regex".to_owned())
    }
}

impl Predicate for HasHeaderKey {
    fn test(&self, record: &Record) -> Result<bool> {
        Ok(record.headers.iter().any(|header| header.key == *self.name))
    }
}

impl Predicate for RecordIsTombstone {
    fn test(&self, record: &Record) -> Result<bool> {
        Ok(record.value.is_null())
    }
}

impl Predicate for TopicNameMatches {
    fn test(&self, record: &Record) -> Result<bool> {
        self.pattern.0.matches(&record.topic)
    }
}

fn plugin<P: Predicate + ConnectorConfig>(
    names: &'static [PluginName],
    summary: &'static str,
) -> PredicatePlugin {
    fn build<P: Predicate + ConnectorConfig>(
        properties: &Properties,
        _: BuildFor,
    ) -> Result<Arc<dyn Predicate>, FieldErrors> {
        Ok(Arc::new(P::parse(properties)?))
    }
    PredicatePlugin {
        info: PluginInfo { names, version: env!("CARGO_PKG_VERSION"), summary },
        definition: definition_of::<P>,
        validate: validate_as::<P>,
        build: build::<P>,
    }
}

pub(crate) fn register(registry: &mut Registry) {
    const HAS_HEADER: &[PluginName] =
        &[PluginName::new("org.apache.kafka.connect.transforms.predicates.HasHeaderKey")];
    const TOMBSTONE: &[PluginName] =
        &[PluginName::new("org.apache.kafka.connect.transforms.predicates.RecordIsTombstone")];
    const TOPIC_NAME: &[PluginName] =
        &[PluginName::new("org.apache.kafka.connect.transforms.predicates.TopicNameMatches")];
    registry
        .predicate(plugin::<HasHeaderKey>(HAS_HEADER, "Records with a header of this name."))
        .predicate(plugin::<RecordIsTombstone>(TOMBSTONE, "Records whose value is null."))
        .predicate(plugin::<TopicNameMatches>(TOPIC_NAME, "Records of topics so called."));
}

#[cfg(test)]
mod tests {
    use towpath_sdk::config::testing;
    use towpath_sdk::record::Header;
    use towpath_sdk::value::{Datum, Value};

    use super::*;

    fn parse<P: ConnectorConfig>(key: &str, value: &str) -> Result<P, FieldErrors> {
        P::parse(&Properties::from([(key, value)]))
    }

    #[test]
    fn a_header_of_the_name_is_asked_for() {
        let mut record = Record::new("t", Datum::null());
        let predicate: HasHeaderKey = parse("name", "h").unwrap();
        assert!(!predicate.test(&record).unwrap());
        record.headers.push(Header { key: "H".into(), value: Datum::null() });
        assert!(!predicate.test(&record).unwrap());
        record.headers.push(Header { key: "h".into(), value: Datum::null() });
        assert!(predicate.test(&record).unwrap());
        assert!(parse::<HasHeaderKey>("name", "").is_err());
    }

    #[test]
    fn a_null_value_is_a_tombstone() {
        let predicate = RecordIsTombstone {};
        assert!(predicate.test(&Record::new("t", Datum::null())).unwrap());
        let value = Datum::schemaless(Value::Boolean(false));
        assert!(!predicate.test(&Record::new("t", value)).unwrap());
    }

    #[test]
    fn the_whole_name_matches_the_pattern() {
        let predicate: TopicNameMatches = parse("pattern", "orders\\..*").unwrap();
        assert!(predicate.test(&Record::new("orders.eu", Datum::null())).unwrap());
        assert!(!predicate.test(&Record::new("my.orders.eu", Datum::null())).unwrap());
        for bad in ["", "("] {
            assert_eq!(parse::<TopicNameMatches>("pattern", bad).unwrap_err().len(), 1);
        }
    }

    #[test]
    fn every_key_has_its_effect() {
        testing::assert_definition::<HasHeaderKey>();
        testing::assert_definition::<TopicNameMatches>();
        testing::assert_every_key_is_claimed(
            HasHeaderKey::definition(),
            &[("name", "a_header_of_the_name_is_asked_for")],
        );
        testing::assert_every_key_is_claimed(
            TopicNameMatches::definition(),
            &[("pattern", "the_whole_name_matches_the_pattern")],
        );
    }
}
