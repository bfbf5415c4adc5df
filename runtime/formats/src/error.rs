//! The error of a record of an internal topic that can't be read.

use std::fmt;

/// A record (or part of one) that isn't what Kafka Connect would have written.
///
/// Connect logs such a record and goes on with the next one; so should a caller.
#[derive(Debug)]
pub struct Error {
    subject: String,
    kind: Kind,
}

/// What is wrong with the record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Kind {
    /// The key isn't valid UTF-8 text.
    #[error("the key is not UTF-8 text")]
    KeyNotText,
    /// The key has a known prefix but doesn't go on as it should.
    #[error("the key should look like {0}")]
    KeyShape(&'static str),
    /// The bytes aren't the JSON that belongs there.
    #[error("the JSON does not fit: {0}")]
    Json(#[source] serde_json::Error),
    /// A member is missing or isn't of the right type or range.
    #[error("the member {0}")]
    Member(&'static str),
    /// A name that isn't one of the allowed ones, such as a state.
    #[error("{found:?} is none of {allowed}")]
    Name {
        /// What was found.
        found: String,
        /// The allowed names.
        allowed: &'static str,
    },
}

impl Error {
    pub(crate) fn new(subject: impl Into<String>, kind: Kind) -> Self {
        Self { subject: subject.into(), kind }
    }

    /// What is wrong.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The key of the record, readable.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {}: {}", self.subject, self.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.kind)
    }
}

/// A key as text for an error: cut, with what isn't UTF-8 replaced.
pub(crate) fn shown(key: &[u8]) -> String {
    const LIMIT: usize = 200;
    let cut = &key[..key.len().min(LIMIT)];
    let mut text = String::from_utf8_lossy(cut).into_owned();
    if cut.len() < key.len() {
        text.push('…');
    }
    format!("{text:?}")
}
