//! What the derived code is made of. Not for use by hand; it may change at any time.

use super::definition::{ConfigDef, ConfigKey};
use super::error::{FieldError, FieldErrors};
use super::properties::Properties;
use super::value::{ConfigEnum, ConfigValue, FieldType, Ranged, java_trim, show_range, split_list};
use super::{ConnectorConfig, secret};

/// Reads one configuration and collects what is wrong with it.
#[derive(Debug)]
pub struct Reader<'a> {
    properties: &'a Properties,
    definition: &'static ConfigDef,
    errors: FieldErrors,
}

/// What is asked of a field beyond its type.
#[derive(Debug)]
pub struct Checks<'c, T> {
    /// Look at the normalized text, before it becomes a value.
    pub text: &'c [TextCheck<'c>],
    /// The text that stands for an absent value.
    pub none: Option<&'c str>,
    /// Looks at the value.
    pub value: Option<ValueCheck<T>>,
}

/// A check of a value; the error is the reason.
pub type ValueCheck<T> = fn(&T) -> Result<(), String>;

/// A check of normalized text.
#[derive(Debug, Clone, Copy)]
pub enum TextCheck<'c> {
    /// A bound on a number, see [`range`].
    Range(fn(&str) -> Result<(), String>),
    /// The text, or each element of a list, must be one of these.
    OneOf(&'c [&'c str]),
    /// The text must not be empty, a list must have an element and no empty one.
    NonEmpty,
}

/// Why a value is refused: what is shown of it, and the error's text.
enum Refusal {
    Value { value: String, reason: String },
    Line(String),
}

impl TextCheck<'_> {
    fn apply(self, key: &ConfigKey, text: &str) -> Result<(), Refusal> {
        let refuse =
            |value: &str, reason: String| Err(Refusal::Value { value: value.to_owned(), reason });
        let list = key.kind == FieldType::List;
        match self {
            Self::Range(check) => check(text).or_else(|reason| refuse(text, reason)),
            Self::OneOf(allowed) => {
                let strange = if list {
                    split_list(text).find(|element| !allowed.contains(element))
                } else {
                    Some(text).filter(|text| !allowed.contains(text))
                };
                strange.map_or(Ok(()), |element| {
                    refuse(element, format!("String must be one of: {}", allowed.join(", ")))
                })
            }
            Self::NonEmpty if list && text.is_empty() => Err(Refusal::Line(format!(
                "Configuration '{}' must not be empty. Valid values include: {}",
                key.name,
                key.valid_values.as_deref().unwrap_or("any non-empty value"),
            ))),
            Self::NonEmpty if list && split_list(text).any(str::is_empty) => Err(Refusal::Line(
                format!("Configuration '{}' values must not be empty.", key.name),
            )),
            Self::NonEmpty if text.is_empty() => {
                refuse(text, "String must be non-empty".to_owned())
            }
            Self::NonEmpty => Ok(()),
        }
    }
}

impl<'a> Reader<'a> {
    /// Starts to read `properties`.
    pub fn new(properties: &'a Properties, definition: &'static ConfigDef) -> Self {
        Self { properties, definition, errors: FieldErrors::default() }
    }

    /// A field with a default, or required. `None` if it is in error.
    pub fn required<T: ConfigValue>(&mut self, name: &str, checks: &Checks<'_, T>) -> Option<T> {
        match self.optional(name, checks)? {
            Some(value) => Some(value),
            None => {
                self.errors.extend([FieldError::missing(name)]);
                None
            }
        }
    }

    /// A field that may be absent. `None` if it is in error.
    pub fn optional<T: ConfigValue>(
        &mut self,
        name: &str,
        checks: &Checks<'_, T>,
    ) -> Option<Option<T>> {
        let definition = self.definition;
        let Some(key) = definition.get(name) else {
            let undeclared = format!("the key {name} is read but not declared");
            self.errors.extend([FieldError::other(name, undeclared)]);
            return None;
        };
        match read(key, self.properties, checks) {
            Ok(value) => Some(value),
            Err(error) => {
                self.errors.extend([error]);
                None
            }
        }
    }

    /// All keys under a prefix, without it.
    pub fn prefixed(&self, prefix: &str) -> Properties {
        self.properties.with_prefix(prefix)
    }

    /// A config whose keys are inlined here, under `prefix` if that is not empty. `None` if it is
    /// in error.
    pub fn nested<C: ConnectorConfig>(&mut self, prefix: &str) -> Option<C> {
        let parsed = if prefix.is_empty() {
            C::parse(self.properties)
        } else {
            C::parse(&self.properties.with_prefix(prefix))
        };
        match parsed {
            Ok(config) => Some(config),
            Err(errors) => {
                self.errors.extend(errors.into_iter().map(|error| error.prefixed(prefix)));
                None
            }
        }
    }

    /// What is wrong with the fields.
    pub fn into_errors(self) -> FieldErrors {
        self.errors
    }

    /// Adds the cross-field check to what was found.
    pub fn finish<C>(
        mut self,
        config: C,
        validate: Option<fn(&C) -> Vec<FieldError>>,
    ) -> Result<C, FieldErrors> {
        if let Some(validate) = validate {
            self.errors.extend(validate(&config));
        }
        if self.errors.is_empty() { Ok(config) } else { Err(self.errors) }
    }
}

/// Reads one key: `Ok(None)` if it is neither set nor has a default, or is set to none.
fn read<T: ConfigValue>(
    key: &ConfigKey,
    properties: &Properties,
    checks: &Checks<'_, T>,
) -> Result<Option<T>, FieldError> {
    let mut given = std::iter::once(&key.name)
        .chain(&key.aliases)
        .filter_map(|name| Some((name, properties.get(name)?)));
    let (name, text) = match (given.next(), &key.default) {
        (Some((name, text)), _) => (name, text),
        (None, Some(default)) => (&key.name, default.as_str()),
        (None, None) => return Ok(None),
    };
    let refuse = |value: &str, mut reason: String| {
        if *name != key.name {
            reason = format!("{reason} (set as {name})");
        }
        let value = if key.is_secret() { secret::HIDDEN } else { value };
        FieldError::invalid(&key.name, Some(value), reason)
    };
    if let Some((alias, _)) = given.find(|(_, other)| *other != text) {
        let reason = format!("{alias} is another name of the same key and differs, remove one");
        return Err(refuse(text, reason));
    }
    if checks.none == Some(java_trim(text)) {
        return Ok(None);
    }
    let normal = key.kind.normalize(text).map_err(|reason| refuse(text, reason))?;
    for check in checks.text {
        check.apply(key, &normal).map_err(|refusal| match refusal {
            Refusal::Value { value, reason } => refuse(&value, reason),
            Refusal::Line(line) => FieldError::other(&key.name, line),
        })?;
    }
    let value = T::parse_value(&normal).map_err(|reason| refuse(&normal, reason))?;
    if let Some(validate) = checks.value {
        validate(&value).map_err(|reason| refuse(&normal, reason))?;
    }
    Ok(Some(value))
}

/// Whether the number in `text` is within bounds.
pub fn range<T: Ranged>(
    text: &str,
    min: Option<T::Bound>,
    max: Option<T::Bound>,
) -> Result<(), String> {
    let Some(number) = T::bound(text) else { return Ok(()) };
    match (min, max) {
        (Some(min), _) if number < min => Err(format!("Value must be at least {min:?}")),
        (_, Some(max)) if number > max => Err(format!("Value must be no more than {max:?}")),
        _ => Ok(()),
    }
}

/// A range as the definition shows it.
pub fn range_text<T: Ranged>(min: Option<T::Bound>, max: Option<T::Bound>) -> Option<String> {
    show_range(min, max)
}

/// The part of a key's metadata that its type decides.
pub fn key<T: ConfigValue>(name: &str, documentation: &str) -> ConfigKey {
    let mut key = ConfigKey::new(name, T::KIND, documentation);
    key.choices = T::allowed().unwrap_or_default().to_vec();
    key.valid_values = T::valid_values();
    key
}

/// What is allowed besides the text that stands for an absent value.
pub fn none_text(none: &str, valid_values: Option<String>) -> Option<String> {
    let none = if none.is_empty() { "\"\"" } else { none };
    valid_values.map(|valid_values| format!("{none} or {valid_values}"))
}

/// The keys of a nested config.
pub fn nested_keys<C: ConnectorConfig>(prefix: &str) -> Vec<ConfigKey> {
    C::definition().clone().prefixed(prefix).keys
}

/// Whether `key` names the unit that its type asks for.
pub const fn names_unit(suffix: Option<&str>, key: &str) -> bool {
    let Some(suffix) = suffix else { return true };
    let (suffix, key) = (suffix.as_bytes(), key.as_bytes());
    if suffix.len() > key.len() {
        return false;
    }
    let start = key.len() - suffix.len();
    let mut i = 0;
    while i < suffix.len() {
        if suffix[i] != key[start + i] {
            return false;
        }
        i += 1;
    }
    true
}

/// What `non_empty` allows, as Connect shows it.
pub fn non_empty_text(kind: FieldType) -> Option<String> {
    (kind != FieldType::List).then(|| "non-empty string".to_owned())
}

/// The variant with a spelling that `name` has; the first spelling of each is its name.
pub fn spelt<T, const N: usize>(
    name: &str,
    ignore_case: bool,
    spellings: [(T, &[&str]); N],
) -> Option<T> {
    let same = |spelling: &&str| {
        if ignore_case { spelling.eq_ignore_ascii_case(name) } else { *spelling == name }
    };
    spellings.into_iter().find(|(_, names)| names.iter().any(same)).map(|(variant, _)| variant)
}

/// The variant that `text` names.
pub fn choose<T: ConfigEnum>(text: &str) -> Result<T, String> {
    T::from_name(java_trim(text)).ok_or_else(|| {
        let case = if T::IGNORE_CASE { " (case insensitive)" } else { "" };
        format!("String must be one of{case}: {}", names::<T>())
    })
}

/// The choices as the definition shows them.
pub fn choices_text<T: ConfigEnum>() -> String {
    let case = if T::IGNORE_CASE { "(case insensitive) " } else { "" };
    format!("{case}[{}]", names::<T>())
}

fn names<T: ConfigEnum>() -> String {
    T::CHOICES.iter().map(|choice| choice.name).collect::<Vec<_>>().join(", ")
}
