//! What is wrong with, or worth knowing about, a setting.
//!
//! Invariant: no text holds the value of a setting that may be a secret.

use std::fmt;

/// A setting that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldError {
    /// The setting's key.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// A setting that is used otherwise than one might think, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Warning {
    /// The setting's key.
    pub field: String,
    /// What does not happen, why, and what to do instead.
    pub text: String,
}

impl FieldError {
    /// An error about `field`.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl Warning {
    /// A warning about `field`.
    pub fn new(field: impl Into<String>, text: impl Into<String>) -> Self {
        Self { field: field.into(), text: text.into() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

impl std::error::Error for FieldError {}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.text)
    }
}
