//! What a configuration may contain: Kafka Connect's `ConfigDef`.
//!
//! A definition describes and never parses. It is built once per config type and copied only to be
//! embedded in another one. It knows nothing of JSON: whoever answers a request writes the wire
//! format from the public fields.

use std::collections::HashSet;

use super::nearest::nearest;
use super::properties::Properties;
use super::secret::HIDDEN;
use super::value::{Choice, FieldType};

/// How many unknown keys are compared with the known ones: a person makes fewer mistakes, and the
/// comparison must not be a way to keep a worker busy.
const MAX_SUGGESTIONS: usize = 50;

/// How much a key matters to somebody who sets up a connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Importance {
    /// Everybody sets it.
    High,
    /// Many set it.
    Medium,
    /// Few need to know it.
    Low,
}

impl Importance {
    /// The name in Kafka Connect's answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "HIGH",
            Self::Medium => "MEDIUM",
            Self::Low => "LOW",
        }
    }
}

/// How wide the input field of a key is in a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Width {
    /// Not said.
    None,
    /// A number or a word.
    Short,
    /// A name.
    Medium,
    /// A list or a sentence.
    Long,
}

impl Width {
    /// The name in Kafka Connect's answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Short => "SHORT",
            Self::Medium => "MEDIUM",
            Self::Long => "LONG",
        }
    }
}

/// One key of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigKey {
    /// The key; `prefix.*` if it stands for all keys that begin with `prefix.`.
    pub name: String,
    /// The type of the value.
    pub kind: FieldType,
    /// Whether it must be set.
    pub required: bool,
    /// The text that counts if it is not set. A key that is neither required nor has a default is
    /// null when it is not set.
    pub default: Option<String>,
    /// How much it matters.
    pub importance: Importance,
    /// Meaning, unit and why this default, in Markdown.
    pub documentation: String,
    /// The group of a form that it belongs to.
    pub group: Option<String>,
    /// The place in its group, from 1; -1 if there is none.
    pub order: i32,
    /// The width of its input field.
    pub width: Width,
    /// The name that a form shows.
    pub display_name: String,
    /// The keys which only matter depending on this one.
    pub dependents: Vec<String>,
    /// Values to offer; others are allowed.
    pub recommended: Vec<String>,
    /// The only values allowed, with their meaning; empty if they can't be listed.
    pub choices: Vec<Choice>,
    /// What is allowed, in the notation of Connect's validators: `[1,...,10]`, `[none, all]`.
    pub valid_values: Option<String>,
    /// Former names, which still work.
    pub aliases: Vec<String>,
    /// If the key is deprecated: what to use in its place.
    pub deprecated: Option<String>,
}

impl ConfigKey {
    /// A key that may be absent, with no default, of low importance and outside of any group.
    pub fn new(name: impl Into<String>, kind: FieldType, documentation: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            display_name: name.clone(),
            name,
            kind,
            required: false,
            default: None,
            importance: Importance::Low,
            documentation: documentation.into(),
            group: None,
            order: -1,
            width: Width::None,
            dependents: Vec::new(),
            recommended: Vec::new(),
            choices: Vec::new(),
            valid_values: None,
            aliases: Vec::new(),
            deprecated: None,
        }
    }

    /// The prefix, if the key stands for all keys that begin with one.
    pub fn prefix(&self) -> Option<&str> {
        self.name.strip_suffix('*')
    }

    /// Whether the value must not be shown.
    pub fn is_secret(&self) -> bool {
        self.kind == FieldType::Password
    }

    /// Whether `key` is this key, one of its aliases, or under its prefix.
    pub fn covers(&self, key: &str) -> bool {
        match self.prefix() {
            Some(prefix) => key.len() > prefix.len() && key.starts_with(prefix),
            None => self.name == key || self.aliases.iter().any(|alias| alias == key),
        }
    }

    /// The value in `properties` as it was written, under the key's name or an alias.
    pub fn lookup<'a>(&self, properties: &'a Properties) -> Option<&'a str> {
        std::iter::once(&self.name).chain(&self.aliases).find_map(|name| properties.get(name))
    }

    /// The value that counts, as Connect repeats it: normalized, the default if it is not set, a
    /// placeholder for a secret, `None` for null and for a value of the wrong type.
    pub fn echo(&self, properties: &Properties) -> Option<String> {
        let value = self.lookup(properties).or(self.default.as_deref())?;
        let value = self.kind.normalize(value).ok()?;
        Some(if self.is_secret() { HIDDEN.to_owned() } else { value })
    }

    /// The same key in a definition that is embedded under `prefix`.
    #[must_use]
    pub fn prefixed(mut self, prefix: &str) -> Self {
        if self.display_name == self.name {
            self.display_name.insert_str(0, prefix);
        }
        self.name.insert_str(0, prefix);
        for name in self.dependents.iter_mut().chain(&mut self.aliases) {
            name.insert_str(0, prefix);
        }
        self
    }
}

/// All keys of a configuration, in the order in which they are declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigDef {
    /// The keys.
    pub keys: Vec<ConfigKey>,
}

impl ConfigDef {
    /// A definition without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// The key declared under exactly this name.
    pub fn get(&self, name: &str) -> Option<&ConfigKey> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The key that a configuration's `key` sets: by its name, by an alias, or by a prefix.
    pub fn resolve(&self, key: &str) -> Option<&ConfigKey> {
        self.get(key).or_else(|| self.keys.iter().find(|declared| declared.covers(key)))
    }

    /// The groups, in the order in which they first appear.
    pub fn groups(&self) -> Vec<&str> {
        let mut groups = Vec::new();
        for group in self.keys.iter().filter_map(|key| key.group.as_deref()) {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups
    }

    /// The keys of `other` that are not declared here yet are added at the end.
    pub fn merge(&mut self, other: ConfigDef) {
        let mut names: HashSet<String> = self.keys.iter().map(|key| key.name.clone()).collect();
        self.keys.extend(other.keys.into_iter().filter(|key| names.insert(key.name.clone())));
    }

    /// The definition as it is embedded in another one: `transforms.x.` for a transform.
    #[must_use]
    pub fn prefixed(self, prefix: &str) -> Self {
        Self { keys: self.keys.into_iter().map(|key| key.prefixed(prefix)).collect() }
    }

    /// The definition with other defaults, for a plug-in whose names differ in them. A key that gets
    /// a default is no longer required; one that is not declared is left out.
    #[must_use]
    pub fn with_defaults(&self, defaults: &[(&str, &str)]) -> Self {
        let mut definition = self.clone();
        for key in &mut definition.keys {
            if let Some((_, value)) = defaults.iter().find(|(name, _)| *name == key.name) {
                key.default = Some((*value).to_owned());
                key.required = false;
            }
        }
        definition
    }

    /// Sets what `properties` leave out, also under an alias, to other defaults than the declared
    /// ones.
    pub fn fill(&self, properties: &mut Properties, defaults: &[(&str, &str)]) {
        for (name, value) in defaults {
            let set = self.get(name).is_some_and(|key| key.lookup(properties).is_some());
            if !set && !properties.contains_key(name) {
                properties.insert(*name, *value);
            }
        }
    }

    /// The keys of `properties` that nothing declares, each with the declared key that it may be a
    /// misspelling of.
    pub fn unknown(&self, properties: &Properties) -> Vec<(String, Option<String>)> {
        let known = || {
            self.keys
                .iter()
                .filter(|key| key.prefix().is_none())
                .flat_map(|key| std::iter::once(&key.name).chain(&key.aliases))
                .map(String::as_str)
        };
        properties
            .keys()
            .filter(|key| self.resolve(key).is_none())
            .enumerate()
            .map(|(index, key)| {
                let near = if index < MAX_SUGGESTIONS { nearest(key, known()) } else { None };
                (key.to_owned(), near.map(str::to_owned))
            })
            .collect()
    }

    /// The keys of `properties` that are outdated, each with what to use in its place.
    pub fn deprecated(&self, properties: &Properties) -> Vec<(String, String)> {
        let advice = |key: &str| {
            let declared = self.resolve(key)?;
            let renamed = || {
                let alias = declared.aliases.iter().any(|alias| alias == key);
                alias.then(|| format!("use {}", declared.name))
            };
            declared.deprecated.clone().or_else(renamed)
        };
        properties.keys().filter_map(|key| Some((key.to_owned(), advice(key)?))).collect()
    }

    /// `properties` with a placeholder in place of each secret that is written out. A secret given
    /// as a reference to a config provider (`${provider:path:key}`) stays, since it tells nothing.
    #[must_use]
    pub fn redact(&self, properties: &Properties) -> Properties {
        properties
            .iter()
            .map(|(key, value)| {
                let secret = self.resolve(key).is_some_and(ConfigKey::is_secret);
                (key, if secret && !is_reference(value) { HIDDEN } else { value })
            })
            .collect()
    }
}

/// Whether the whole of `value` is one reference to a config provider.
fn is_reference(value: &str) -> bool {
    let inner = value.trim().strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inner.is_some_and(|inner| inner.contains(':') && !inner.contains(['{', '}', '$']))
}
