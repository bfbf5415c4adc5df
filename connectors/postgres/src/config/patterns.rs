//! Lists of regular expressions that choose schemas, tables and columns.

use std::sync::Arc;

use fancy_regex::{Regex, RegexBuilder};
use towpath_sdk::config::{ConfigValue, FieldType};

/// Regular expressions separated by commas, each of which has to match a whole name, in upper or lower
/// case. A comma inside brackets or after a backslash belongs to its expression.
#[derive(Debug, Clone)]
pub struct Patterns(Arc<[Regex]>);

impl Patterns {
    /// Whether one of them matches all of `name`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        // An expression that would take too long matches nothing.
        self.0.iter().any(|regex| regex.is_match(name).unwrap_or(false))
    }
}

impl Patterns {
    /// One expression.
    pub(super) fn of(pattern: &str) -> Result<Self, String> {
        Ok(Self([compile(pattern)?].into()))
    }

    /// Expressions that are apart already.
    pub(crate) fn all<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let regexes = patterns.into_iter().map(compile).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(regexes.into()))
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!("^(?:{pattern})$"))
        .case_insensitive(true)
        .build()
        .map_err(|error| format!("'{pattern}' is not a regular expression: {error}"))
}

impl ConfigValue for Patterns {
    const KIND: FieldType = FieldType::String;

    fn parse_value(text: &str) -> Result<Self, String> {
        let regexes = split(text).into_iter().map(compile).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(regexes.into()))
    }
}

/// The expressions of a list, trimmed; empty ones do not count.
pub(super) fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut escaped) = (Vec::new(), 0, 0_usize, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_match_in_any_case() {
        let patterns = Patterns::parse_value(r"public\.users, s\.t{1,2}, (a|b,c)\..*").unwrap();
        for yes in ["public.users", "PUBLIC.Users", "s.t", "s.tt", "a.x", "b,c.x"] {
            assert!(patterns.matches(yes), "{yes}");
        }
        for no in ["publicXusers", "public.users2", "xpublic.users", "s.ttt", "c.x"] {
            assert!(!patterns.matches(no), "{no}");
        }
        assert!(!Patterns::parse_value(" , ").unwrap().matches(""));
        assert!(Patterns::parse_value("a(").unwrap_err().contains("'a('"));
    }
}
