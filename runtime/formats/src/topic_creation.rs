//! How topics that a source writes to are created (KIP-158): `topic.creation.*` of its config.
//!
//! A topic belongs to the first listed group that includes and does not exclude it, else to `default`.
//! A group without partitions or replicas of its own has those of `default`; other topic settings are
//! not handed down.
//!
//! Invariant: which group a topic belongs to, and the texts of errors, are Connect's. Patterns are
//! Java's and match whole names.
//!
//! Deliberately absent: whether topics may be created at all (`topic.creation.enable` of the worker),
//! and creating them.

use crate::Properties;
use crate::finding::{FieldError, Warning};
use crate::java_regex::{JavaRegex, TooComplex};
use crate::messages::{invalid_value, missing_required, problem};

const PREFIX: &str = "topic.creation.";
const GROUPS: &str = "topic.creation.groups";
const DEFAULT: &str = "default";
const REPLICATION: &str = "Replication factor must be positive and not larger than the number of brokers in the Kafka cluster, or -1 to use the broker's default";
const PARTITIONS: &str = "Number of partitions must be positive, or -1 to use the broker's default";

/// The rules of one source connector.
#[derive(Clone, Debug)]
pub struct TopicCreation {
    groups: Vec<Group>,
    default: TopicSettings,
}

/// How to create a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// How many partitions; `None` for the broker's default.
    pub partitions: Option<u32>,
    /// How many replicas; `None` for the broker's default.
    pub replication_factor: Option<u16>,
    /// Topic settings such as `cleanup.policy`.
    pub configs: Properties,
}

#[derive(Clone, Debug)]
struct Group {
    include: JavaRegex,
    exclude: JavaRegex,
    settings: TopicSettings,
}

impl TopicCreation {
    /// Reads a connector's config; `None` if it says nothing about the creation of topics.
    ///
    /// # Errors
    /// Everything that is wrong, in Connect's words.
    pub fn parse(config: &Properties) -> Result<(Option<Self>, Vec<Warning>), Vec<FieldError>> {
        if !config.keys().any(|key| key.starts_with(PREFIX)) {
            return Ok((None, Vec::new()));
        }
        let mut reader = Reader { config, errors: Vec::new(), warnings: Vec::new() };
        let names = reader.names();
        let default = TopicSettings {
            partitions: reader.partitions(DEFAULT, None),
            replication_factor: reader.replication_factor(DEFAULT, None),
            configs: reader.configs(DEFAULT),
        };
        let groups = names.iter().filter_map(|name| reader.group(name, &default)).collect();
        reader.warn_of_the_rest(&names);
        if !reader.errors.is_empty() {
            return Err(reader.errors);
        }
        Ok((Some(Self { groups, default }), reader.warnings))
    }

    /// How to create this topic.
    ///
    /// # Errors
    /// If a group's pattern takes too many steps on the name.
    pub fn settings_for(&self, topic: &str) -> Result<&TopicSettings, TooComplex> {
        for group in &self.groups {
            if !group.exclude.matches(topic)? && group.include.matches(topic)? {
                return Ok(&group.settings);
            }
        }
        Ok(&self.default)
    }
}

struct Reader<'a> {
    config: &'a Properties,
    errors: Vec<FieldError>,
    warnings: Vec<Warning>,
}

impl<'a> Reader<'a> {
    fn text(&self, key: &str) -> Option<&'a str> {
        self.config.text(key).map(str::trim)
    }

    fn list(&self, key: &str) -> Vec<&'a str> {
        let items = self.text(key).unwrap_or_default().split(',').map(str::trim);
        items.filter(|item| !item.is_empty()).collect()
    }

    fn refuse(&mut self, key: &str, value: &str, problem: &str) {
        self.errors.push(FieldError::new(key, invalid_value(Some(value), key, problem)));
    }

    fn warn(&mut self, key: &str, text: impl Into<String>) {
        self.warnings.push(Warning::new(key, text));
    }

    fn names(&mut self) -> Vec<&'a str> {
        let listed = self.list(GROUPS);
        let twice = listed.iter().enumerate().any(|(at, name)| listed[..at].contains(name));
        if twice {
            self.refuse(GROUPS, &shown(&listed), "Duplicate alias provided.");
        }
        if listed.contains(&DEFAULT) {
            self.warn(GROUPS, "the group default always exists and need not be listed");
        }
        listed.into_iter().filter(|name| *name != DEFAULT).collect()
    }

    fn group(&mut self, name: &str, default: &TopicSettings) -> Option<Group> {
        let include = format!("{PREFIX}{name}.include");
        if self.list(&include).is_empty() {
            let text = format!(
                "has no effect: the group {name} has no {include}, so no topic belongs to it"
            );
            self.warn(GROUPS, text);
        }
        let include = self.pattern(&include);
        let exclude = self.pattern(&format!("{PREFIX}{name}.exclude"));
        let settings = TopicSettings {
            partitions: self.partitions(name, Some(default.partitions)),
            replication_factor: self.replication_factor(name, Some(default.replication_factor)),
            configs: self.configs(name),
        };
        Some(Group { include: include?, exclude: exclude?, settings })
    }

    /// The patterns between commas, any of which may match. None matches only the empty name.
    fn pattern(&mut self, key: &str) -> Option<JavaRegex> {
        let listed = self.list(key);
        match JavaRegex::new(&listed.join("|")) {
            Ok(regex) => Some(regex),
            Err(error) => {
                let problem = format!("Syntax error in regular expression: {error}");
                self.refuse(key, &shown(&listed), &problem);
                None
            }
        }
    }

    fn partitions(&mut self, group: &str, inherited: Option<Option<u32>>) -> Option<u32> {
        let key = format!("{PREFIX}{group}.partitions");
        self.positive(&key, i32::MAX, "INT", PARTITIONS, inherited)
    }

    fn replication_factor(&mut self, group: &str, inherited: Option<Option<u16>>) -> Option<u16> {
        let key = format!("{PREFIX}{group}.replication.factor");
        self.positive(&key, i16::MAX.into(), "SHORT", REPLICATION, inherited)
    }

    /// A positive number; −1 is the broker's default. Required if there is nothing to inherit.
    fn positive<T: TryFrom<i32>>(
        &mut self,
        key: &str,
        most: i32,
        kind: &str,
        rule: &str,
        inherited: Option<Option<T>>,
    ) -> Option<T> {
        let Some(text) = self.text(key) else {
            if inherited.is_none() {
                self.errors.push(FieldError::new(key, missing_required(key)));
            }
            return inherited.flatten();
        };
        let Some(number) =
            text.parse::<i32>().ok().filter(|number| (-most - 1..=most).contains(number))
        else {
            self.refuse(key, text, &problem::not_a_number(kind));
            return None;
        };
        if number < 1 && number != -1 {
            self.refuse(key, text, rule);
        }
        T::try_from(number).ok()
    }

    fn configs(&self, group: &str) -> Properties {
        let mut configs = self.config.with_prefix(&format!("{PREFIX}{group}."));
        for own in ["include", "exclude", "partitions", "replication.factor"] {
            configs.unset(own);
        }
        configs
    }

    fn warn_of_the_rest(&mut self, names: &[&str]) {
        for key in self.config.keys().filter(|key| key.starts_with(PREFIX) && *key != GROUPS) {
            let rest = &key[PREFIX.len()..];
            let of = |group: &str| rest.strip_prefix(group).and_then(|rest| rest.strip_prefix('.'));
            match of(DEFAULT) {
                Some("include" | "exclude") => {
                    self.warn(key, "has no effect: topics of no other group belong to default");
                }
                Some(_) => {}
                None if names.iter().any(|name| of(name).is_some()) => {}
                None => {
                    self.warn(key, format!("has no effect: no group of that name is in {GROUPS}"))
                }
            }
        }
    }
}

/// A list as Java shows it.
fn shown(items: &[&str]) -> String {
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RF: &str = "topic.creation.default.replication.factor";
    const PARTITION_COUNT: &str = "topic.creation.default.partitions";

    fn with(more: &[(&str, &str)]) -> Result<(TopicCreation, Vec<Warning>), Vec<FieldError>> {
        let mut config = Properties::from([("name", "c"), (RF, "3"), (PARTITION_COUNT, "5")]);
        config.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        TopicCreation::parse(&config).map(|(rules, warnings)| (rules.expect("rules"), warnings))
    }

    #[track_caller]
    fn refused(more: &[(&str, &str)], expect: &str) {
        let errors = with(more).expect_err(expect);
        assert_eq!(errors.iter().map(|error| error.problem.as_str()).collect::<Vec<_>>(), [expect]);
    }

    #[test]
    fn without_any_rule_there_are_none() {
        let (rules, warnings) =
            TopicCreation::parse(&Properties::from([("topics", "t")])).expect("valid");
        assert!(rules.is_none() && warnings.is_empty());
    }

    #[test]
    fn a_topic_belongs_to_the_first_group_that_takes_it() {
        let (rules, warnings) = with(&[
            ("topic.creation.groups", "compacted, logs"),
            ("topic.creation.compacted.include", "dbserver1\\..*, users"),
            ("topic.creation.compacted.exclude", ".*\\.log"),
            ("topic.creation.compacted.cleanup.policy", "compact"),
            ("topic.creation.compacted.partitions", "1"),
            ("topic.creation.logs.include", ".*log"),
            ("topic.creation.logs.replication.factor", "-1"),
            ("topic.creation.default.compression.type", "lz4"),
        ])
        .expect("valid");
        assert_eq!(warnings, []);
        let compacted = TopicSettings {
            partitions: Some(1),
            replication_factor: Some(3),
            configs: Properties::from([("cleanup.policy", "compact")]),
        };
        let logs = TopicSettings {
            partitions: Some(5),
            replication_factor: None,
            configs: Properties::new(),
        };
        let default = TopicSettings {
            partitions: Some(5),
            replication_factor: Some(3),
            configs: Properties::from([("compression.type", "lz4")]),
        };
        for (topic, expect) in [
            ("dbserver1.inventory", &compacted),
            ("users", &compacted),
            ("users2", &default),
            ("dbserver1.a.log", &logs),
            ("other", &default),
        ] {
            assert_eq!(rules.settings_for(topic), Ok(expect), "{topic}");
        }
    }

    #[test]
    fn errors_are_in_connects_words() {
        refused(&[(RF, "0")], &format!("Invalid value 0 for configuration {RF}: {REPLICATION}"));
        refused(
            &[(RF, "40000")],
            &format!("Invalid value 40000 for configuration {RF}: Not a number of type SHORT"),
        );
        refused(
            &[(PARTITION_COUNT, "-2")],
            &format!("Invalid value -2 for configuration {PARTITION_COUNT}: {PARTITIONS}"),
        );
        refused(
            &[(PARTITION_COUNT, "x")],
            &format!(
                "Invalid value x for configuration {PARTITION_COUNT}: Not a number of type INT"
            ),
        );
        let twice = "Invalid value [a, a] for configuration topic.creation.groups: Duplicate alias provided.";
        refused(&[(GROUPS, "a,a")], twice);
        refused(
            &[(GROUPS, "a"), ("topic.creation.a.include", "b,c(")],
            "Invalid value [b, c(] for configuration topic.creation.a.include: Syntax error in regular expression: Unclosed group near index 4",
        );
        let errors =
            TopicCreation::parse(&Properties::from([(GROUPS, "a")])).expect_err("no defaults");
        let missing = |key: &str| {
            format!("Missing required configuration \"{key}\" which has no default value.")
        };
        let texts: Vec<_> = errors.into_iter().map(|error| error.problem).collect();
        assert_eq!(texts, [missing(PARTITION_COUNT), missing(RF)]);
    }

    #[test]
    fn what_has_no_effect_is_a_warning() {
        let (_, warnings) = with(&[
            (GROUPS, "default, empty"),
            ("topic.creation.other.partitions", "1"),
            ("topic.creation.default.include", "x"),
            ("topic.creation.empty.partitions", "2"),
        ])
        .expect("valid");
        let fields: Vec<_> = warnings.iter().map(|warning| warning.field.as_str()).collect();
        assert_eq!(
            fields,
            [GROUPS, GROUPS, "topic.creation.other.partitions", "topic.creation.default.include"]
        );
    }
}
