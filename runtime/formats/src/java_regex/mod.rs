//! Regular expressions as `java.util.regex.Pattern` (Java 17) means them.
//!
//! A pattern is translated for a backtracking engine and matched as Java's `matches()` does: the whole
//! text, not a part of it.
//!
//! Invariants: what is accepted means what it means in Java (`\d` and `\w` are ASCII, `.` stops at five
//! line ends, `$` sees the end before a last one, a class may hold classes and `&&`); what can't be had
//! is an error that names the construct, never another meaning. Matching is bounded: a pattern that
//! would run on and on gives [`TooComplex`].
//!
//! One difference is left, where Java's own versions differ: which letters beyond ASCII make a word for
//! `\b` (here: those that are alphabetic or marks in Unicode).
//!
//! Deliberately absent: Unicode blocks, grapheme clusters, names of characters, canonical equivalence,
//! and replacement.

mod class;
mod property;
mod translate;

use std::fmt;

/// How many steps one match may take; more than any sensible pattern needs on a topic's name.
const BACKTRACK_LIMIT: usize = 1_000_000;
/// How large a compiled pattern may be, in bytes.
const SIZE_LIMIT: usize = 4 << 20;

/// A pattern that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// Where in the pattern, in characters from 0.
    pub at: usize,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    /// Java would refuse it too.
    Syntax(String),
    /// Java takes it, Towpath does not.
    Unsupported(String),
    /// The engine can't compile what it was translated to.
    TooLarge(String),
}

impl PatternError {
    fn syntax(at: usize, problem: impl Into<String>) -> Self {
        Self { at, problem: Problem::Syntax(problem.into()) }
    }

    fn unsupported(at: usize, construct: impl Into<String>) -> Self {
        Self { at, problem: Problem::Unsupported(construct.into()) }
    }

    /// Does Java take the pattern, so that only Towpath is to blame?
    pub fn is_unsupported(&self) -> bool {
        !matches!(self.problem, Problem::Syntax(_))
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::Syntax(problem) => write!(f, "{problem} near index {}", self.at),
            Problem::Unsupported(construct) => {
                write!(
                    f,
                    "{construct} near index {} is not supported; write it another way",
                    self.at
                )
            }
            Problem::TooLarge(reason) => write!(f, "the pattern can't be compiled: {reason}"),
        }
    }
}

impl std::error::Error for PatternError {}

/// A match that was given up: the pattern backtracks too much on this text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the regular expression takes too many steps on this text; avoid nested repetitions like (a+)+"
)]
pub struct TooComplex;

/// A pattern, ready to match.
#[derive(Clone, Debug)]
pub struct JavaRegex {
    pattern: String,
    engine: fancy_regex::Regex,
}

impl JavaRegex {
    /// Translates and compiles a pattern.
    ///
    /// # Errors
    /// If Java would refuse it, if it holds a construct that can't be had here, or if it is too large.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let translated = translate::translate(pattern)?;
        let too_large = |error: fancy_regex::Error| PatternError {
            at: 0,
            problem: Problem::TooLarge(error.to_string()),
        };
        let engine = fancy_regex::RegexBuilder::new(&translated)
            .backtrack_limit(BACKTRACK_LIMIT)
            .delegate_size_limit(SIZE_LIMIT)
            .build()
            .map_err(too_large)?;
        Ok(Self { pattern: pattern.to_owned(), engine })
    }

    /// Does the pattern match the whole text?
    ///
    /// # Errors
    /// If finding out takes too many steps.
    pub fn matches(&self, text: &str) -> Result<bool, TooComplex> {
        self.engine.is_match(text).map_err(|_| TooComplex)
    }

    /// The pattern, as it was given.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }
}

impl fmt::Display for JavaRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pattern)
    }
}

#[cfg(test)]
mod tests;
