//! What is wrong with a configuration, one error per field, in Kafka Connect's words.

use std::fmt;

use super::definition::ConfigDef;
use super::secret::HIDDEN;

/// What is wrong with one key.
///
/// `Display` is the whole line as Kafka Connect writes it.
///
/// ```
/// use towpath_sdk::config::FieldError;
///
/// let error = FieldError::invalid("tasks.max", Some("0"), "Value must be at least 1");
/// assert_eq!(
///     error.to_string(),
///     "Invalid value 0 for configuration tasks.max: Value must be at least 1"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    key: String,
    value: Option<String>,
    message: String,
    problem: Problem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    Missing,
    Invalid,
    Other,
}

impl FieldError {
    /// A required key is not set.
    pub fn missing(key: impl Into<String>) -> Self {
        Self { key: key.into(), value: None, message: String::new(), problem: Problem::Missing }
    }

    /// The value of a key is refused. `None` stands for a value that is null; `reason` says what
    /// would be right.
    pub fn invalid(key: impl Into<String>, value: Option<&str>, reason: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: value.map(str::to_owned),
            message: reason.into(),
            problem: Problem::Invalid,
        }
    }

    /// The value of a key is refused and must not be shown.
    pub fn invalid_secret(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::invalid(key, Some(HIDDEN), reason)
    }

    /// Something else is wrong, typically with several keys together; `key` is where a form shows
    /// it and `message` is the whole line.
    pub fn other(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), value: None, message: message.into(), problem: Problem::Other }
    }

    /// The key at fault, by the name it is declared under.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The refused value; [`HIDDEN`] in place of a secret, `None` where there is none.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// The reason alone, without key and value; empty for a missing key.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether a required key is not set.
    pub fn is_missing(&self) -> bool {
        self.problem == Problem::Missing
    }

    /// The same error for a definition that is embedded under `prefix`.
    #[must_use]
    pub fn prefixed(mut self, prefix: &str) -> Self {
        self.key.insert_str(0, prefix);
        self
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, message, problem } = self;
        match problem {
            Problem::Missing => {
                write!(f, "Missing required configuration \"{key}\" which has no default value.")
            }
            Problem::Invalid => {
                let value = value.as_deref().unwrap_or("null");
                write!(f, "Invalid value {value} for configuration {key}")?;
                if message.is_empty() { Ok(()) } else { write!(f, ": {message}") }
            }
            Problem::Other => f.write_str(message),
        }
    }
}

impl std::error::Error for FieldError {}

/// Everything that is wrong with a configuration, in the order of the definition. `Display` is
/// one line per error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// The errors of one key.
    pub fn of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a FieldError> {
        self.0.iter().filter(move |error| error.key() == key)
    }

    /// The same errors with those that Kafka Connect reports besides: where a number can't be
    /// read, it still runs the range check, on null. For answers that must match Connect's to the
    /// count; people are better off without.
    #[must_use]
    pub fn with_null_checks(self, definition: &ConfigDef) -> Self {
        let null_check = |error: &FieldError| {
            let ranged = definition.get(&error.key).is_some_and(|key| key.valid_values.is_some());
            let unread = ranged && error.message.starts_with("Not a number of type ");
            unread.then(|| FieldError::invalid(&error.key, None, "Value must be non-null"))
        };
        self.into_iter()
            .flat_map(|error| {
                let also = null_check(&error);
                std::iter::once(error).chain(also)
            })
            .collect()
    }

    /// The errors, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, FieldError> {
        self.0.iter()
    }

    /// The number of errors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for FieldErrors {}

impl From<FieldError> for FieldErrors {
    fn from(error: FieldError) -> Self {
        Self(vec![error])
    }
}

impl FromIterator<FieldError> for FieldErrors {
    fn from_iter<I: IntoIterator<Item = FieldError>>(errors: I) -> Self {
        Self(errors.into_iter().collect())
    }
}

impl Extend<FieldError> for FieldErrors {
    fn extend<I: IntoIterator<Item = FieldError>>(&mut self, errors: I) {
        self.0.extend(errors);
    }
}

impl IntoIterator for FieldErrors {
    type Item = FieldError;
    type IntoIter = std::vec::IntoIter<FieldError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a FieldErrors {
    type Item = &'a FieldError;
    type IntoIter = std::slice::Iter<'a, FieldError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::{FieldError, FieldErrors};

    #[test]
    fn speaks_connects_words() {
        let errors = FieldErrors(vec![
            FieldError::missing("transforms.a.type"),
            FieldError::invalid("tasks.max", None, "Value must be non-null"),
            FieldError::invalid("x", Some("v"), ""),
            FieldError::invalid_secret("password", "too short"),
            FieldError::other("topics", "Must configure one of topics or topics.regex"),
            FieldError::missing("type").prefixed("transforms.b."),
        ]);
        assert_eq!(
            errors.to_string(),
            "Missing required configuration \"transforms.a.type\" which has no default value.\n\
             Invalid value null for configuration tasks.max: Value must be non-null\n\
             Invalid value v for configuration x\n\
             Invalid value [hidden] for configuration password: too short\n\
             Must configure one of topics or topics.regex\n\
             Missing required configuration \"transforms.b.type\" which has no default value."
        );
        assert_eq!(errors.of("topics").count(), 1);
    }
}
